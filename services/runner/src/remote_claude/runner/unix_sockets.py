"""Unix sockets that a sandbox may connect to."""

from __future__ import annotations

from pathlib import Path

MAX_PATH = 107
"""Bytes of a unix socket's path; the kernel's limit."""


class SocketPathTooLong(Exception):
    """The kernel cannot name this socket."""

    code = "socket_path_too_long"


def prepare(path: Path) -> str:
    """Make room for a socket at this path. The folder is closed to others; the socket itself will not be."""
    if len(bytes(path)) > MAX_PATH:
        raise SocketPathTooLong(
            f"{path} is longer than the {MAX_PATH} bytes of a socket's path: use a shorter RCLAUDE_HOME"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return str(path)


def open_to_sandbox(path: Path) -> None:
    """The sandbox's user is another one than ours, and sees the socket alone, without its folder."""
    path.chmod(0o666)
