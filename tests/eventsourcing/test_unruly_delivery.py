"""A way from the broker that drops, repeats and delays: a reader gets every event once and in order all the same."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest

from event_logs import Place, Proxy, everything, happened, new_place, until, whats
from relay import Frames
from remote_claude.eventsourcing.tail import Tail
from servers import Broker

# Messages are dropped here: a read that waits for ever fails by itself, and the process goes on with other tests.
pytestmark = pytest.mark.timeout(120, method="signal")

EVENTS = 3_000


class Unruly(Proxy):
    """Of the broker's messages some come twice; of the events that a consumer delivers, some late or never as well."""

    def __init__(self, broker: Broker, seed: int) -> None:
        super().__init__(broker)
        self._chance = Random(seed)
        self.done: Counter[str] = Counter()

    async def _down(self, reader: StreamReader, writer: StreamWriter) -> None:
        frames, begun, late = Frames(), b"", b""
        with suppress(OSError):
            while data := await reader.read(65536):
                ends = [len(begun) + end for end in frames.ends(data)]
                begun += data
                for frame in [begun[start:end] for start, end in pairwise([0, *ends])]:
                    match self._fate(frame):
                        case "late" if not late:
                            late = frame
                            continue
                        case "never":
                            continue
                        case "twice":
                            writer.write(frame)
                    writer.write(frame + late)
                    late = b""
                begun = begun[ends[-1] :] if ends else begun
                await writer.drain()
        writer.close()

    def _fate(self, frame: bytes) -> str | None:
        if b"MSG " not in frame[:5] or self._chance.random() > 0.01:
            return None
        delivered = b"$JS.ACK." in frame.partition(b"\r\n")[0]
        fate = self._chance.choice(("twice", "late", "never") if delivered else ("twice",))
        self.done[fate] += 1
        return fate


@pytest.fixture(params=range(3))
async def unruly(nats_server: Broker, request: pytest.FixtureRequest) -> AsyncIterator[Unruly]:
    async with Unruly(nats_server, request.param) as one:
        yield one


async def filled(broker: Broker) -> tuple[Place, list[str]]:
    place, said = await new_place(broker), [str(n) for n in range(EVENTS)]
    async with place.log() as log:
        new = [happened(what) for what in said]
        await asyncio.gather(
            *(
                log.append(place.subject(f"a{n}"), new[n : n + 100], expected_position=0)
                for n in range(0, EVENTS, 100)
            )
        )
    return place, said


async def test_a_read(nats_server: Broker, unruly: Unruly) -> None:
    place, _ = await filled(nats_server)
    async with place.log(url=unruly.url) as log, place.log() as straight:
        found = await everything(log)
        assert [event.position for event in found] == list(range(1, EVENTS + 1))
        assert whats(found) == whats(await everything(straight))
        assert log.stats.consumers_lost > 0
    assert all(unruly.done[fate] for fate in ("twice", "late", "never")), unruly.done


async def test_a_tail_and_the_appends_beside_it(nats_server: Broker, unruly: Unruly) -> None:
    place = await new_place(nats_server)
    async with place.log(url=unruly.url) as log, Tail(log, after=0) as tail:
        seen: list[int] = []

        async def subscribe() -> None:
            async for batch in tail.subscribe(after=0):
                seen.extend(event.position for event in batch)

        subscribing = asyncio.create_task(subscribe())

        async def append(aggregate: int) -> None:
            position = 0
            for n in range(40):
                position = await log.append(
                    place.subject(str(aggregate)), [happened(str(n))], expected_position=position
                )

        await asyncio.gather(*map(append, range(50)))
        await until(lambda: len(seen) >= 2_000)
        assert seen == list(range(1, 2_001))
        assert log.stats.consumers_lost > 0
        subscribing.cancel()
