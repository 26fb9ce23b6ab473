"""Reading ahead: while one batch is being applied, the next gathers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Self

from remote_claude.eventsourcing.events import RecordedEvent


class Arrivals:
    """Everything that a source of batches has so far, as one batch of at most `limit` events. Nothing waits to fill.

    `async with` it; it reads at most about `limit` events ahead.
    """

    def __init__(self, source: AsyncIterator[list[RecordedEvent]], limit: int) -> None:
        self._source, self._limit = source, limit
        self._gathered: list[RecordedEvent] = []
        self._changed, self._room = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda _: self._changed.set())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        if isinstance(self._source, AsyncGenerator):
            await self._source.aclose()

    async def next(self, timeout: float | None = None) -> list[RecordedEvent] | None:
        """At least one event; none when `timeout` seconds have passed; None after the source's end.

        Raises what the source raises, after everything that came before it.
        """
        if not self._gathered and not self._reading.done():
            self._changed.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                return []
        events, self._gathered = self._gathered[: self._limit], self._gathered[self._limit :]
        if len(self._gathered) < self._limit:
            self._room.set()
        if not events and self._reading.done():
            self._reading.result()
            return None
        return events

    async def _read(self) -> None:
        async for batch in self._source:
            if batch:
                self._gathered += batch
                self._changed.set()
            while len(self._gathered) >= self._limit:
                self._room.clear()
                await self._room.wait()
