"""One live tail of the log, shared by everything in a process that folds."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import count
from types import TracebackType

from remote_claude.concurrency import tasks
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import EventLog, check_reaches

RING_BYTES = 64 * 1024 * 1024
OVERHEAD = 1536
"""About what a `RecordedEvent` takes besides its payload, in bytes."""


class Tail:
    """Reads the log once for many subscribers. A slow one falls out of the ring and reads on its own.

    It reads from `after`, by default from the log's end at the start. `async with` it, or `start` and `close`.
    When reading fails for good (`EventLogError`), subscribers and waiters get the error.
    """

    def __init__(self, log: EventLog, *, after: int | None = None, capacity: int = RING_BYTES) -> None:
        self._log = log
        self._position = after
        self._capacity = capacity
        self._ring: dict[int, list[RecordedEvent]] = {}
        self._first = self._next = 0  # the ring holds the batches from _first up to, without, _next
        self._start = 0  # the ring holds every event after this position
        self._bytes = 0
        self._began = self._arrivals = 0
        self._alive_at = time.monotonic()
        self._arrived = asyncio.Event()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._ended = False

    async def __aenter__(self) -> Tail:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def position(self) -> int:
        """The position of the last event that has arrived here."""
        return self._position or 0

    @property
    def missing(self) -> int:
        """Positions since the start that no event has arrived for; every one holds an event, so this is 0."""
        return self.position - self._began - self._arrivals

    @property
    def age(self) -> float:
        """Seconds since the last event or heartbeat arrived."""
        return time.monotonic() - self._alive_at

    @property
    def held(self) -> int:
        """About how many bytes the ring holds, at most its capacity."""
        return self._bytes

    async def start(self) -> None:
        """Begin to read. Raises `EventLogError` when the log can't be reached."""
        if self._position is None:
            self._position = await self._log.last_position()
        self._start = self._began = self._position
        self._task = asyncio.create_task(self._run(), name="event log: tail")

    async def close(self) -> None:
        """End, and with it everything that subscribes or waits."""
        if self._task is not None:
            await tasks.end(self._task)

    async def subscribe(self, *, after: int) -> AsyncGenerator[list[RecordedEvent], None]:
        """Batches of events in order, from any position on; ends only by an error, or by `close`.

        Raises `PositionAhead` when the log doesn't go as far as `after`.
        """
        if after > self.position:  # ahead of this tail, or of the log itself?
            await check_reaches(self._log, after)
        position = after
        index: int | None = None
        while not self._over():
            if index is None or index < self._first:
                if position < self._start:
                    index, start = None, self._start
                    async with aclosing(self._log.read(after=position)) as batches:
                        async for batch in batches:
                            yield batch
                            position = batch[-1].position
                    position = max(position, start)
                else:
                    held = range(self._first, self._next)
                    index = self._first + bisect_right(held, position, key=self._last)
            elif index < self._next:
                batch = self._ring[index]
                index += 1
                if batch[0].position <= position:
                    batch = [event for event in batch if event.position > position]
                if batch:
                    yield batch
                    position = batch[-1].position
            else:
                await self._arrived.wait()

    async def wait_for(self, position: int, timeout: float) -> bool:
        """Wait until `position` has arrived, at most `timeout` seconds; False when it has not."""
        if self.position >= position:
            return True
        if self._over():
            return False
        waiter = (position, next(self._numbers), asyncio.get_running_loop().create_future())
        insort(self._waiters, waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter[2]
        except TimeoutError:
            return False
        finally:
            place = bisect_left(self._waiters, waiter[:2])
            if self._waiters[place : place + 1] == [waiter]:
                del self._waiters[place]
        return self.position >= position

    async def _run(self) -> None:
        try:
            async with aclosing(self._log.follow(after=self.position)) as batches:
                async for batch in batches:
                    self._alive_at = time.monotonic()
                    if batch:
                        self._add(batch)
        except Exception as error:  # subscribers and waiters get it
            self._failure = error
        finally:
            self._ended = True
            for _, _, waiter in self._waiters:
                if not waiter.done():
                    if self._failure is None:
                        waiter.set_result(None)
                    else:
                        waiter.set_exception(self._failure)
            self._waiters.clear()
            self._arrived.set()

    def _add(self, batch: list[RecordedEvent]) -> None:
        self._ring[self._next] = batch
        self._next += 1
        self._bytes += _size(batch)
        self._position = batch[-1].position
        self._arrivals += len(batch)
        while self._bytes > self._capacity:
            oldest = self._ring.pop(self._first)
            self._first += 1
            self._bytes -= _size(oldest)
            self._start = oldest[-1].position
        reached = bisect_left(self._waiters, (self._position + 1,))
        for _, _, waiter in self._waiters[:reached]:
            if not waiter.done():
                waiter.set_result(None)
        del self._waiters[:reached]
        self._arrived.set()
        self._arrived = asyncio.Event()

    def _last(self, index: int) -> int:
        return self._ring[index][-1].position

    def _over(self) -> bool:
        if self._failure is not None:
            raise self._failure
        return self._ended


def _size(batch: list[RecordedEvent]) -> int:
    return sum(len(event.data) for event in batch) + OVERHEAD * len(batch)
