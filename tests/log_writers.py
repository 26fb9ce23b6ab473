"""Writers that never tire, and what they were told, to compare with the log."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from event_logs import Place, everything, happened, until
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.log import ConcurrencyConflict
from remote_claude.eventsourcing.tail import Tail


class Writers:
    """Each appends to a stream of its own, some to one that they share; what was acknowledged is kept."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.acknowledged: dict[str, int] = {}  # event id to position
        self.ended = False
        self.longest = 0.0  # seconds between two acknowledgements
        self._last = time.monotonic()
        self._positions: Counter[str] = Counter()

    async def run(self, log: JetStreamEventLog, number: int) -> None:
        while not self.ended:
            await self._append(log, self.place.subject(f"w{number}"), 1 + number % 3)
            if number % 6 == 0:
                await self._append(log, self.place.subject("shared"), 1)

    async def _append(self, log: JetStreamEventLog, stream: str, n: int) -> None:
        events = [happened() for _ in range(n)]
        while True:
            try:
                last = await log.append(stream, events, expected_position=self._positions[stream])
            except ConcurrencyConflict as conflict:
                self._positions[stream] = conflict.actual
            else:
                self._positions[stream] = max(last, self._positions[stream])
                now = time.monotonic()
                self.longest, self._last = max(self.longest, now - self._last), now
                self.acknowledged |= {e.event_id: last - n + 1 + i for i, e in enumerate(events)}
                return

    async def go_on(self, n: int = 200, timeout: float = 60) -> None:
        """Wait for `n` more events to be acknowledged."""
        reached = len(self.acknowledged) + n
        await until(lambda: len(self.acknowledged) >= reached, timeout)


async def under_load(
    place: Place, writers: int, disturb: Callable[[Writers], Awaitable[None]], **options: Any
) -> Writers:
    """Disturb the brokers while two processes write and one tail reads, then compare log, tail and answers."""
    load = Writers(place)
    seen: list[RecordedEvent] = []

    async def watch(tail: Tail) -> None:
        async for batch in tail.subscribe(after=0):
            seen.extend(batch)

    async with place.log(**options) as first, place.log(**options) as second, Tail(first) as tail:
        watching = asyncio.create_task(watch(tail))
        writing = [asyncio.create_task(load.run((first, second)[n % 2], n)) for n in range(writers)]
        await load.go_on()
        await disturb(load)
        load.ended = True
        async with asyncio.timeout(60):
            await asyncio.gather(*writing)
        end = await first.last_position()
        assert await tail.wait_for(end, 30)
        recorded = await everything(second, until=end)
        assert [event.position for event in recorded] == list(range(1, end + 1))
        assert {event.event_id: event.position for event in recorded} == load.acknowledged
        assert set(Counter(event.event_id for event in recorded).values()) == {1}
        await until(lambda: len(seen) >= end)
        assert [(event.position, event.event_id) for event in seen] == [
            (event.position, event.event_id) for event in recorded
        ]
        watching.cancel()
    return load
