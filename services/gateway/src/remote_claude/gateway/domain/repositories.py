"""Which repository URLs are taken: what a runner can reach over the network, and nothing that Git would run or read locally."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from remote_claude.gateway.domain.refusals import RepositoryUrlRefused

SCHEMES = frozenset({"http", "https", "ssh", "git"})
SCP_FORM = re.compile(r"[A-Za-z0-9_][\w.+-]*@[A-Za-z0-9][\w.-]*:(?!:)[^\s]+", re.ASCII)
HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][\w.-]*", re.ASCII)


def identity(url: str) -> str:
    """The repository that a URL names, as `host/path`: the same for every scheme, user and spelling of the host."""
    if SCP_FORM.fullmatch(url):
        host, _, path = url.partition("@")[2].partition(":")
    else:
        parts = urlsplit(url)
        host, path = parts.hostname or "", parts.path
    return f"{host.lower()}/{path.strip('/').removesuffix('.git')}"


def check_url(url: str) -> None:
    """Raises `RepositoryUrlRefused`."""
    if SCP_FORM.fullmatch(url):
        return
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise RepositoryUrlRefused(
            "This is not a URL. Send one such as https://host/owner/name.git."
        ) from None
    if parts.scheme not in SCHEMES:
        raise RepositoryUrlRefused(
            "The URL has to begin with https, http, ssh or git. A repository on your disk is sent as a bundle: "
            "`rclaude run --repo PATH` does that."
        )
    named = HOST.fullmatch(f"[{host}]" if ":" in host else host) and len(parts.path) > 1
    if not named or (parts.username or "").startswith("-"):
        raise RepositoryUrlRefused(
            "The URL has to name a host and a repository: https://host/owner/name.git."
        )
