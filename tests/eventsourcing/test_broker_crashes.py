"""`kill -9` of the broker, again and again, under concurrent writers and readers."""

import asyncio
from collections import Counter

from event_logs import JetStreamEventLog, Place, everything, happened, new_place
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import ConcurrencyConflict
from remote_claude.eventsourcing.tail import Tail
from servers import Broker

WRITERS = 24
CRASHES = 4


class Writers:
    """Each appends to a stream of its own, some to one that they share; what was acknowledged is kept."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.acknowledged: dict[str, int] = {}  # event id to position
        self.ended = False
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
                self.acknowledged |= {e.event_id: last - n + 1 + i for i, e in enumerate(events)}
                return


async def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(fresh_nats: Broker) -> None:
    place = await new_place(fresh_nats)
    writers = Writers(place)
    seen: list[RecordedEvent] = []

    async def watch(tail: Tail) -> None:
        async for batch in tail.subscribe(after=0):
            seen.extend(batch)

    async with place.log() as first, place.log() as second, Tail(first) as tail:
        watching = asyncio.create_task(watch(tail))
        writing = [asyncio.create_task(writers.run((first, second)[n % 2], n)) for n in range(WRITERS)]
        for _ in range(CRASHES):
            reached = len(writers.acknowledged) + 200
            async with asyncio.timeout(30):
                while len(writers.acknowledged) < reached:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            fresh_nats.kill()
            await asyncio.to_thread(fresh_nats.start)
        writers.ended = True
        async with asyncio.timeout(60):
            await asyncio.gather(*writing)
        end = await first.last_position()
        assert await tail.wait_for(end, 30)

        recorded = await everything(second)
        assert [event.position for event in recorded] == list(range(1, end + 1))
        assert {event.event_id: event.position for event in recorded} == writers.acknowledged
        assert set(Counter(event.event_id for event in recorded).values()) == {1}
        while len(seen) < end:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert [event.event_id for event in seen] == [event.event_id for event in recorded]
        watching.cancel()
