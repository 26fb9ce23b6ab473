"""Which repository URLs are taken: what a runner can reach over the network, and nothing that Git would run or read locally."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from remote_claude.gateway.domain.refusals import RepositoryUrlRefused

SCHEMES = frozenset({"http", "https", "ssh", "git"})
SCP_FORM = re.compile(r"[A-Za-z0-9_][\w.+-]*@[A-Za-z0-9][\w.-]*:(?!:)[^\s]+", re.ASCII)
TOKENS = re.compile(
    r"gh[a-z]_|github_pat_|gl[a-z]{1,5}-|ATB|x-(token|access-token)|[A-Za-z0-9_-]{32,}", re.ASCII
)
"""Users of a URL that are access tokens, or say that one follows."""
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
    """Raises `RepositoryUrlRefused`, also for a URL that holds a password: what is submitted is shown."""
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
    user = parts.username or ""
    if parts.password is not None or (parts.scheme in ("http", "https") and TOKENS.match(user)):
        raise RepositoryUrlRefused(
            "The URL has a password or a token in it, which would be stored and shown with the task. Send it without, and "
            "store a token for the repository's forge once: `rclaude repo connect github`."
        )
    named = HOST.fullmatch(f"[{host}]" if ":" in host else host) and len(parts.path) > 1
    if not named or user.startswith("-"):
        raise RepositoryUrlRefused(
            "The URL has to name a host and a repository: https://host/owner/name.git."
        )
