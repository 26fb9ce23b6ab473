"""How a worker reaches its runner: a WebSocket over a unix socket, or through the address of a gateway."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect, unix_connect

from remote_claude.worker.protocol.messages import MAX_MESSAGE


class BadRunnerUrl(ValueError):
    """`RCLAUDE_RUNNER_URL` leads nowhere."""


def check(url: str) -> str:
    """The URL, if it can be dialled: `unix:///path`, `ws://...`, `wss://...`. Raises `BadRunnerUrl`."""
    parts = urlsplit(url)
    if (parts.scheme == "unix" and parts.path) or (parts.scheme in ("ws", "wss") and parts.hostname):
        return url
    raise BadRunnerUrl(f"RCLAUDE_RUNNER_URL is {url!r}: unix:///path, ws://... or wss://... is needed")


def dial(url: str) -> AbstractAsyncContextManager[ClientConnection]:
    """A connection to the runner for as long as it is entered. Raises `OSError`, `InvalidHandshake`, `TimeoutError`."""
    if (parts := urlsplit(url)).scheme == "unix":
        return unix_connect(
            parts.netloc + parts.path,
            "ws://runner/",
            compression=None,
            ping_interval=None,  # the lease says who is alive
            max_size=MAX_MESSAGE,
            proxy=None,
            user_agent_header=None,
        )
    return connect(
        url,
        compression=None,
        ping_interval=None,
        max_size=MAX_MESSAGE,
        proxy=None,
        user_agent_header=None,
    )
