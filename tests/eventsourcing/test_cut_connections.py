"""Wherever a connection is cut, every caller gets the truth: its own position, or its own conflict.

The log is read afterwards by another client, message by message, and has to agree with what the callers were told.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from event_logs import Place, connect, happened, new_place
from relay import Cut, CuttingRelay
from remote_claude.eventsourcing.events import NewEvent
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.log import ConcurrencyConflict, EventLog
from servers import Broker

SEED = 20260102
LANES = 4
CALLERS = 400


@dataclass
class Claim:
    """What a caller was told of its append, and during which cut."""

    cut: str
    stream: str
    expected: int
    ids: list[str]
    told: int | BaseException


@dataclass
class Callers:
    """Append, and remember what they were told."""

    place: Place
    taken: str
    """A stream that has moved on: an append that expects it to be new gets a conflict."""
    claims: list[Claim] = field(default_factory=list)
    used: int = 0

    def streams(self, n: int) -> list[str]:
        """New ones."""
        self.used += n
        return [self.place.subject(f"t{i}") for i in range(self.used - n, self.used)]

    async def append(
        self, cut: str, log: EventLog, stream: str, events: Sequence[NewEvent], expected: int = 0
    ) -> int:
        claim = Claim(cut, stream, expected, [event.event_id for event in events], TimeoutError())
        self.claims.append(claim)
        try:
            claim.told = await log.append(stream, events, expected_position=expected)
        except ConcurrencyConflict as conflict:
            claim.told = conflict
        return claim.told if isinstance(claim.told, int) else 0

    async def lone(self, cut: str, log: EventLog, rival: EventLog) -> None:
        """Two in a row; the second expects what the first was told."""
        [stream] = self.streams(1)
        position = await self.append(cut, log, stream, [happened()])
        await self.append(cut, log, stream, [happened()], position)

    async def singles(self, cut: str, log: EventLog, rival: EventLog) -> None:
        """A few, of which one conflicts."""
        await asyncio.gather(
            *(self.append(cut, log, stream, [happened()]) for stream in [*self.streams(4), self.taken])
        )

    async def batch(self, cut: str, log: EventLog, rival: EventLog) -> None:
        """Many, of which one conflicts and some have several events."""
        await asyncio.gather(
            *(
                self.append(cut, log, stream, [happened() for _ in range(1 + n % 3)])
                for n, stream in enumerate([*self.streams(16), self.taken])
            )
        )

    async def race(self, cut: str, log: EventLog, rival: EventLog) -> None:
        """Somebody else wants the same streams."""
        await asyncio.gather(
            *(
                self.append(cut, who, stream, [happened(), happened()])
                for stream in self.streams(4)
                for who in (rival, log)
            )
        )

    async def many(self, cut: str, log: EventLog, rival: EventLog) -> None:
        """So many that they go by halves, twice each, the next half made ready before the answer to the last."""

        async def caller(stream: str) -> None:
            position = await self.append(cut, log, stream, [happened()])
            if position:
                await self.append(cut, log, stream, [happened()], position)

        await asyncio.gather(*(caller(stream) for stream in [*self.streams(CALLERS), self.taken]))

    async def agree_with_the_log(self) -> None:
        """Every claim against the raw log, and the raw log against the claims."""
        raw = await raw_log(self.place)
        ids = Counter(event_id for _, event_id in raw.values())
        lies = []
        for claim in self.claims:
            if isinstance(claim.told, int):
                there = [raw.get(claim.told - len(claim.ids) + 1 + n) for n in range(len(claim.ids))]
                truth = there == [(claim.stream, event_id) for event_id in claim.ids]
            elif isinstance(claim.told, ConcurrencyConflict):
                moved = raw.get(claim.told.actual, ("", ""))[0] == claim.stream
                truth = moved and claim.told.actual > claim.expected and not any(ids[i] for i in claim.ids)
            else:
                truth = False
            if not truth:
                lies.append(claim)
        assert not lies
        told = Counter(i for claim in self.claims if isinstance(claim.told, int) for i in claim.ids)
        assert ids == told  # nothing twice, nothing that nobody was told of, nothing lost
        assert list(raw) == list(range(1, len(raw) + 1))


Kind = Callable[[Callers, str, EventLog, EventLog], Awaitable[None]]
KINDS: list[Kind] = [Callers.lone, Callers.singles, Callers.batch, Callers.race]


async def raw_log(place: Place) -> dict[int, tuple[str, str]]:
    """Stream and event id at each position, as a plain client reads them."""
    client = await connect(place.broker)
    js = client.jetstream()
    messages = (await js.stream_info(place.stream)).state.messages
    subscription = await js.subscribe(f"{place.prefix}.>", ordered_consumer=True)
    found = {}
    for _ in range(messages):
        message = await subscription.next_msg(timeout=10)
        assert message.headers is not None
        found[message.metadata.sequence.stream] = message.subject, message.headers["ce-id"]
    await client.close()
    return found


@pytest.fixture
async def callers(nats_server: Broker) -> Callers:
    return await new_callers(nats_server)


async def new_callers(broker: Broker) -> Callers:
    place = await new_place(broker)
    callers = Callers(place, place.subject("taken"))
    async with place.log() as log:
        await callers.append("none", log, callers.taken, [happened("before")])
    return callers


class Lane:
    """A log behind a relay of its own, warm: what comes next on the wire is an append. And a rival who is not cut."""

    def __init__(
        self, callers: Callers, relay: CuttingRelay, log: JetStreamEventLog, rival: EventLog
    ) -> None:
        self.callers, self.relay, self.log, self.rival = callers, relay, log, rival
        self.sizes: dict[Kind, dict[bool, int]] = {}

    @classmethod
    async def open(cls, callers: Callers, stack: AsyncExitStack) -> "Lane":
        relay = await stack.enter_async_context(CuttingRelay(callers.place.broker.url))
        log = await stack.enter_async_context(callers.place.log(url=relay.url))
        rival = await stack.enter_async_context(callers.place.log())
        lane = cls(callers, relay, log, rival)
        for kind in [*KINDS, *KINDS]:
            await lane.run(kind)
            lane.sizes[kind] = relay.counted
        return lane

    async def run(self, kind: Kind, *cuts: Cut) -> int:
        """How many of the cuts were made."""
        self.relay.arm(*cuts)
        name = f"{kind.__name__}, cut {', then '.join(map(str, cuts))}"
        try:
            async with asyncio.timeout(60):
                await kind(self.callers, name, self.log, self.rival)
        except TimeoutError:
            raise AssertionError(f"no answer within 60 s: {name}") from None
        made = len(cuts) - len(self.relay.cuts)
        self.relay.cuts.clear()
        return made


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_cut_at_every_frame_leaves_every_caller_with_the_truth(
    callers: Callers, kind: Kind, up: bool
) -> None:
    async with AsyncExitStack() as stack:
        lane = await Lane.open(callers, stack)
        frames = 0
        while await lane.run(kind, Cut(up, frames=frames)):
            frames += 1
        assert frames >= {"lone": 2, "singles": 5, "batch": 10, "race": 2}[kind.__name__]
    await callers.agree_with_the_log()


@pytest.mark.parametrize("total", [60, pytest.param(200, marks=pytest.mark.nightly)])
async def test_cuts_at_random_bytes_leave_every_caller_with_the_truth(callers: Callers, total: int) -> None:
    """The second of two cuts, where there is one, may fall into the next connection's handshake."""
    dice = random.Random(SEED)

    async def run(lane: Lane, cuts: int) -> None:
        while cuts > 0:
            kind, up = dice.choice(KINDS), dice.random() < 0.5
            first = Cut(up, bytes=dice.randrange(lane.sizes[kind][up]))
            second = [Cut(dice.random() < 0.5, bytes=dice.randrange(2000))] * dice.randrange(2)
            cuts -= await lane.run(kind, first, *second)

    async with AsyncExitStack() as stack:
        lanes = [await Lane.open(callers, stack) for _ in range(LANES)]
        await asyncio.gather(*(run(lane, total // LANES) for lane in lanes))
    await callers.agree_with_the_log()


@pytest.mark.parametrize("cuts", [3, pytest.param(8, marks=pytest.mark.nightly)])
async def test_cuts_while_many_are_in_flight_leave_every_caller_with_the_truth(
    callers: Callers, cuts: int
) -> None:
    """Anywhere in what goes up, and at each frame that comes down."""
    dice = random.Random(SEED)
    async with AsyncExitStack() as stack:
        lane = await Lane.open(callers, stack)
        await lane.run(Callers.many)
        size = lane.relay.counted[True]
        for _ in range(cuts):
            assert await lane.run(Callers.many, Cut(True, bytes=dice.randrange(size // 2)))
        frames = 0
        while await lane.run(Callers.many, Cut(False, frames=frames)):
            frames += 1
        assert frames >= 4
    await callers.agree_with_the_log()


async def test_a_broker_killed_within_a_batch_leaves_every_caller_with_the_truth(fresh_nats: Broker) -> None:
    """From the first frame of the batch to the last of the answer."""
    callers = await new_callers(fresh_nats)

    def kill() -> None:
        fresh_nats.kill()
        fresh_nats.start()

    async with AsyncExitStack() as stack:
        lane = await Lane.open(callers, stack)
        for up, step in ((True, 6), (False, 1)):
            frames = 0
            while await lane.run(Callers.batch, Cut(up, frames=frames, then=kill)):
                frames += step
            assert frames > 5
    await callers.agree_with_the_log()
