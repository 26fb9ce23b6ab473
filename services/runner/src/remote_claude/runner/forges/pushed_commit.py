"""The commit as it is pushed: on top of the branch, with a message that does nothing on a forge, and signed."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Protocol

from remote_claude.runner.forges.description import quiet_words
from remote_claude.runner.forges.signing import signature

_SIGNATURE = re.compile(rb"^gpgsig(?:-sha256)? .*\n(?: .*\n)*", re.MULTILINE)
_SHA256 = 64


class RunGit(Protocol):
    """Git in the repository that is pushed."""

    def __call__(self, *args: str, stdin: bytes = b"") -> Awaitable[bytes]: ...


async def finished_commit(
    run: RunGit, commit: str, *, parent: str | None = None, signing_key: str | None = None
) -> str:
    """The id of the commit to push: `commit` itself where nothing has to change.

    The sandbox has written the message: mentions and closing keywords in it are broken, and a signature of it is dropped.
    The same commit, parent and key give the same id. Raises `GitFailed`, and `ValueError` for a key that can't sign.
    """
    content = await run("cat-file", "commit", commit)
    header, _, message = content.partition(b"\n\n")
    header = _SIGNATURE.sub(b"", header + b"\n").rstrip(b"\n")
    if parent is not None:
        header = re.sub(rb"(?m)^parent .*$", b"parent " + parent.encode(), header, count=1)
    text = message.decode("utf-8", "replace")
    made = header + b"\n\n" + (quiet_words(text).encode() if quiet_words(text) != text else message)
    if signing_key is not None:
        name = "gpgsig-sha256" if len(commit) == _SHA256 else "gpgsig"
        lines = f"{name} {signature(signing_key, made)}".replace("\n", "\n ").encode()
        header, _, message = made.partition(b"\n\n")
        made = header + b"\n" + lines + b"\n\n" + message
    if made == content:
        return commit
    return (await run("hash-object", "-t", "commit", "-w", "--stdin", stdin=made)).decode().strip()
