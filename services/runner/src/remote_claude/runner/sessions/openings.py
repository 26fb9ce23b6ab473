"""Connections of people into a sandbox: its worker is asked, and dials back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from remote_claude.runner.sessions.channel import Channel
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.messages import Open, StreamOpened

ARRIVES_WITHIN_S = 15.0
MAX_OPENINGS = 32
"""At one time, of one worker."""


class StreamNotOpened(Exception):
    """The worker did not connect in time, or has too many connections."""


class StreamOpenings:
    """Those of one worker. `ask` sends it a message."""

    def __init__(self, ask: Callable[[Open], Awaitable[None]]) -> None:
        self._ask = ask
        self._waiting: dict[str, asyncio.Future[Channel]] = {}
        self._over: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def opened(
        self, *, port: int = 0, term: str = "xterm-256color", columns: int = 80, rows: int = 24
    ) -> AsyncIterator[Channel]:
        """A connection to a terminal, or a port, while it is entered. Raises `StreamNotOpened`."""
        if len(self._over) >= MAX_OPENINGS:
            raise StreamNotOpened(f"more than {MAX_OPENINGS} connections into one sandbox")
        name = f"open-{secrets.token_urlsafe(12)}"
        arriving = self._waiting[name] = asyncio.get_running_loop().create_future()
        over = self._over[name] = asyncio.Event()
        try:
            await self._ask(Open(stream=name, port=port, term=term, columns=columns, rows=rows))
            try:
                async with asyncio.timeout(ARRIVES_WITHIN_S):
                    channel = await arriving
            except TimeoutError as error:
                raise StreamNotOpened(
                    "the sandbox did not connect in time: its agent has not started yet"
                ) from error
            await channel.send(protocol.encode(StreamOpened()))
            yield channel
        finally:
            self._waiting.pop(name, None)
            del self._over[name]
            over.set()

    async def take(self, channel: Channel, name: str) -> bool:
        """A connection that the worker has dialled, until it is over. False if nobody asked for it."""
        waiting = self._waiting.pop(name, None)
        if waiting is None or waiting.done():
            return False
        over = self._over[name]
        waiting.set_result(channel)
        await over.wait()
        await channel.close(1000, "")
        return True
