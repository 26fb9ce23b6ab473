"""The forges that an installation knows: each has a name, a kind, and the address of its repositories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

KINDS = ("github", "gitlab", "gitea", "bitbucket", "azure")
"""Forges that speak the same API are of one kind. Forgejo is of the kind `gitea`."""
SETTING = "RCLAUDE_FORGES"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Forge:
    """`url` has a scheme and a host only, such as `https://github.com`."""

    name: str
    kind: str
    url: str


PUBLIC = (
    Forge("github", "github", "https://github.com"),
    Forge("gitlab", "gitlab", "https://gitlab.com"),
    Forge("gitea", "gitea", "https://gitea.com"),
    Forge("codeberg", "gitea", "https://codeberg.org"),
    Forge("bitbucket", "bitbucket", "https://bitbucket.org"),
    Forge("azure", "azure", "https://dev.azure.com"),
)


class Forges:
    """By name, and by the URL of a repository. `text` adds to those that everybody knows, or replaces one of them:
    `NAME=KIND:URL`, with commas between them. Raises `ValueError`."""

    def __init__(self, text: str = "") -> None:
        own = [_forge(part.strip()) for part in text.split(",") if part.strip()]
        self.by_name: Mapping[str, Forge] = MappingProxyType({one.name: one for one in (*PUBLIC, *own)})

    def of(self, url: str) -> Forge | None:
        """The forge of a repository, or of a page about one; None for another host or scheme."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()
        return next((one for one in self.by_name.values() if one.url == origin), None)

    def names(self) -> Iterable[str]:
        return self.by_name.keys()


def _forge(text: str) -> Forge:
    name, _, rest = text.partition("=")
    kind, _, url = rest.partition(":")
    parts = urlsplit(url)
    if (
        not _NAME.fullmatch(name)
        or kind not in KINDS
        or parts.scheme not in ("http", "https")
        or not parts.netloc
    ):
        raise ValueError(
            f"{text!r} is not NAME=KIND:URL, such as work=gitlab:https://git.example.com; kinds: {', '.join(KINDS)}"
        )
    return Forge(name, kind, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower())
