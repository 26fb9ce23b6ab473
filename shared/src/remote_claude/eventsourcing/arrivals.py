"""Reading ahead: while one batch is being applied, the next gathers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Self

from remote_claude.concurrency.tasks import end
from remote_claude.eventsourcing.events import RecordedEvent


class Arrivals:
    """Everything that a source of batches has so far, as one batch of at most `limit` events.

    A batch comes at once, unless the last one came less than `pace` seconds ago: under load many events share one.
    `async with` it; it reads at most about `limit` events ahead.
    """

    def __init__(self, source: AsyncIterator[list[RecordedEvent]], limit: int, *, pace: float = 0.0) -> None:
        self._source, self._limit, self._pace = source, limit, pace
        self._due = 0.0
        self._gathered: list[RecordedEvent] = []
        self._changed, self._room = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(lambda _: self._changed.set())
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(self._reading)
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
        if self._pace and len(self._gathered) < self._limit:
            await asyncio.sleep(self._due - time.monotonic())
            self._due = time.monotonic() + self._pace
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
