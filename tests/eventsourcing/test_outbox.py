"""An effect is done at least once under one key, has exactly one outcome in the log, and is done by nobody who replays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from psycopg import AsyncConnection
from sqlalchemy import Index
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from event_logs import connect, everything, new_place
from projecting import Codec, Log, eventually, parked, running, running_work
from rebuilding import assert_rebuild_equals_live
from remote_claude.eventsourcing.events import NewEvent, RecordedEvent
from remote_claude.eventsourcing.jetstream.streams import events_config
from remote_claude.eventsourcing.log import AppendRefused, ConcurrencyConflict, LogUnavailable, NotPermitted
from remote_claude.eventsourcing.postgres.effects import Done, Outbox, OutboxWorker, Park, Retry, Verdict
from remote_claude.eventsourcing.postgres.outbox_table import OutboxRow, effect
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import append, delete, reading
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.views import View
from servers import Broker

DAY = 86400.0


class Tables(SQLModel, registry=registry()):
    """The tables of `Wishes`."""


class WishRow(OutboxRow, Tables, table=True):
    __tablename__ = "wish"
    __table_args__ = (Index("wish_by_lane", "lane", "position"),)


class Wishes(View):
    """A wish for each `Wished`, until its outcome comes. `Cursed` is an outcome that can't be folded."""

    name = "test_wishes"
    version = 1
    tables = Tables.metadata
    handles = frozenset({"Wished", "Granted", "Refused", "Cursed"})

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        for event in events:
            if event.type == "Cursed":
                raise ValueError("cursed")
            if event.type == "Wished":
                wish = effect(event, "grant", lane=event.stream, stream=event.stream, payload={"n": 1})
                await append(connection, WishRow, [wish])
            else:
                await delete(connection, WishRow, [event.event_id])


class Genie:
    """Does what it is told to, and notes under which key."""

    def __init__(self, *answers: Verdict | Exception, outcome: str = "Granted") -> None:
        self.answers, self.outcome_type = list(answers), outcome
        self.performed: list[str] = []
        self.open = 0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Genie"]:
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    async def perform(self, row: OutboxRow) -> Verdict:
        self.performed.append(row.key)
        answer = self.answers.pop(0) if self.answers else Done()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def outcome(self, row: OutboxRow, verdict: Done | Park) -> tuple[str, int, bytes]:
        if isinstance(verdict, Park):
            return "Refused", 1, f'{{"reason": "{verdict.reason}"}}'.encode()
        return self.outcome_type, 1, b"{}"


def now() -> datetime:
    return datetime.now(UTC)


def a_new(event: tuple[str, int, bytes]) -> NewEvent:
    return NewEvent(event=event, event_id=str(uuid4()), occurred_at="2026-01-01T00:00:00.000000Z")


class World:
    """A log, its view, and the process that works its outbox."""

    def __init__(self, pool: Pool, log: Log) -> None:
        self.pool, self.log, self.view = pool, log, Wishes()
        self.projector = self.another_projector()

    def another_projector(self) -> Projector:
        return Projector(self.view, self.pool, self.log, self.log.tail, ignored_interval=0.05)

    def worker(self, genie: Any, *, log: Any = None, give_up_s: float = DAY) -> OutboxWorker:
        outbox = Outbox(view=self.view, table=WishRow, open=genie.opened, give_up_s=give_up_s)
        return OutboxWorker(outbox, self.pool, log or self.log, self.projector, now)

    async def pending(self) -> list[str]:
        async with reading(self.pool, self.view, org=None) as connection:
            rows = await (await connection.execute("SELECT key FROM wish ORDER BY key")).fetchall()
        return [row["key"] for row in rows]

    async def settled(self) -> bool:
        return await self.projector.wait_for(self.log.end, 0) and await self.pending() == []

    @property
    def outcomes(self) -> list[RecordedEvent]:
        return [event for event in self.log._events if event.type != "Wished"]


@pytest.fixture
async def world(pool: Pool, log: Log) -> AsyncIterator[World]:
    world = World(pool, log)
    async with running(world.projector):
        yield world


async def test_an_effect_is_done_once_and_its_outcome_is_the_event_of_its_key(world: World) -> None:
    genie = Genie()
    worker = world.worker(genie)
    async with running_work(worker.run()):
        cause = await world.log.add("a", "Wished")
        await eventually(lambda: bool(world.outcomes))
        await eventually(world.settled)
        await eventually(lambda: worker.pending == 0)
    [outcome] = world.outcomes
    [wished] = [event for event in world.log._events if event.type == "Wished"]
    assert genie.performed == [outcome.event_id]
    assert (outcome.causation_id, outcome.stream, wished.position) == (wished.event_id, wished.stream, cause)
    assert worker.attempts == {"done": 1}
    await assert_rebuild_equals_live(world.view, world.pool, world.log)


async def test_what_fails_is_tried_again_under_the_same_key(world: World) -> None:
    genie = Genie(Retry("busy", after=0), RuntimeError("a bug"), Retry("busy", after=0))
    async with running_work(world.worker(genie).run()):
        await world.log.add("a", "Wished")
        await eventually(lambda: bool(world.outcomes))
    assert len(genie.performed) == 4
    assert set(genie.performed) == {outcome.event_id for outcome in world.outcomes}


async def test_what_is_parked_has_an_outcome_that_says_so(world: World) -> None:
    async with running_work(world.worker(Genie(Park("never"))).run()):
        await world.log.add("a", "Wished")
        await eventually(lambda: bool(world.outcomes))
        await eventually(world.settled)
    assert [(e.type, e.event) for e in world.outcomes] == [("Refused", {"reason": "never"})]


async def test_what_fails_for_too_long_is_given_up_and_what_is_late_behind_it_too(world: World) -> None:
    genie = Genie(*[Retry("busy", after=0)] * 100)
    async with running_work(world.worker(genie, give_up_s=0).run()):
        for _ in range(20):
            await world.log.add("a", "Wished")
        await eventually(lambda: len(world.outcomes) == 20)
        await eventually(world.settled)
    assert {(e.type, e.event["reason"]) for e in world.outcomes} == {("Refused", "busy")}
    assert len(genie.performed) < 20  # a receiver that is gone is not asked for each


async def test_a_lane_that_waits_holds_up_no_other(world: World) -> None:
    genie = Genie(Retry("busy", after=DAY))
    async with running_work(world.worker(genie).run()):
        await world.log.add("dead", "Wished")
        await eventually(lambda: len(genie.performed) == 1)
        await world.log.add("dead", "Wished")
        await world.log.add("alive", "Wished")
        await eventually(lambda: bool(world.outcomes))
    assert [outcome.stream for outcome in world.outcomes] == ["ev.test.o.thing.alive"]
    assert len(genie.performed) == 2


async def test_a_lane_that_fails_is_counted_and_holds_up_no_other(world: World) -> None:
    genie = Genie()
    worker = world.worker(genie)
    cause = await world.log.add("a", "Wished")
    assert await world.projector.wait_for(cause, 30)
    async with world.pool.connection() as connection:  # no fold writes that
        await connection.execute("UPDATE test_wishes.wish SET occurred_at = 'long ago'")
    async with running_work(worker.run()):
        await world.log.add("b", "Wished")
        await eventually(lambda: bool(world.outcomes))
        await eventually(lambda: worker.lane_failures == 1)
    assert genie.performed == [outcome.event_id for outcome in world.outcomes]


class Stopping:
    """A log and a genie that stop the worker for good at one point, as a kill does."""

    def __init__(self, log: Log, genie: Genie, where: str) -> None:
        self.log, self.genie, self.where = log, genie, where
        self.reached = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log if hasattr(self.log, name) else self.genie, name)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Stopping"]:
        yield self

    async def at(self, where: str) -> None:
        if where == self.where:
            self.reached.set()
            await asyncio.Event().wait()

    async def around(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        await self.at(f"before {name}")
        done = await work()
        await self.at(f"after {name}")
        return done

    async def read_stream(self, stream: str, *, after: int = 0) -> Any:
        return await self.around("the look", lambda: self.log.read_stream(stream, after=after))

    async def perform(self, row: OutboxRow) -> Any:
        return await self.around("the effect", lambda: self.genie.perform(row))

    async def append(self, stream: str, events: Any, *, expected_position: int) -> Any:
        return await self.around(
            "the outcome", lambda: self.log.append(stream, events, expected_position=expected_position)
        )


@pytest.mark.parametrize("what", ["the look", "the effect", "the outcome"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_nothing_is_lost_whenever_the_worker_dies(world: World, when: str, what: str) -> None:
    genie = Genie()
    stopping = Stopping(world.log, genie, f"{when} {what}")
    async with running_work(world.worker(stopping, log=stopping).run()):
        await world.log.add("a", "Wished")
        async with asyncio.timeout(30):
            await stopping.reached.wait()
    async with running_work(world.worker(genie).run()):
        await eventually(lambda: bool(world.outcomes))
        await eventually(world.settled)
    assert [outcome.event_id for outcome in world.outcomes] == list(dict.fromkeys(genie.performed))
    again = (when, what) in {("after", "the effect"), ("before", "the outcome")}
    assert len(genie.performed) == (2 if again else 1)


async def test_two_who_both_believe_to_be_the_one_leave_one_outcome(world: World) -> None:
    genies = Genie(), Genie()
    async with running_work(world.worker(genies[0]).run()), running_work(world.worker(genies[1]).run()):
        for n in range(20):
            await world.log.add(f"s{n}", "Wished")
        await eventually(lambda: len(world.outcomes) >= 20)
        await eventually(world.settled)
    assert len(world.outcomes) == 20
    assert set(genies[0].performed) | set(genies[1].performed) == {e.event_id for e in world.outcomes}


class Unavailable(Log):
    """A log that does not answer the first appends of outcomes; the first one lands all the same."""

    def __init__(self, log: Log) -> None:
        self.log, self.refused = log, 0

    def __getattribute__(self, name: str) -> Any:
        own = ("log", "refused", "append", "__class__")
        return object.__getattribute__(self, name) if name in own else getattr(self.log, name)

    async def append(self, stream: str, events: Any, *, expected_position: int) -> int:
        self.refused += 1
        if self.refused == 1:
            raise LogUnavailable("not in time")
        position = await self.log.append(stream, events, expected_position=expected_position)
        if self.refused == 2:
            raise LogUnavailable("no answer")
        return position


async def test_what_is_done_is_not_done_again_for_want_of_an_answer_of_the_log(world: World) -> None:
    genie, log = Genie(), Unavailable(world.log)
    async with running_work(world.worker(genie, log=log).run()):
        await world.log.add("a", "Wished")
        await eventually(lambda: log.refused == 3)
        await eventually(world.settled)
    assert len(genie.performed) == len(world.outcomes) == 1


class Forbidden:
    """A log that this credential may not append to, until somebody permits it."""

    def __init__(self, log: Log) -> None:
        self.log, self.asked = log, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    async def append(self, stream: str, events: Any, *, expected_position: int) -> int:
        self.asked += 1
        if self.asked == 1:
            raise NotPermitted(stream)
        return await self.log.append(stream, events, expected_position=expected_position)


async def test_what_is_done_waits_until_its_outcome_is_permitted(world: World) -> None:
    genie = Genie()
    worker = world.worker(genie, log=Forbidden(world.log))
    async with running_work(worker.run()):
        await world.log.add("a", "Wished")
        await eventually(world.settled)
    assert (len(genie.performed), worker.refused) == (1, set())


async def test_an_outcome_that_the_view_had_to_park_counts_all_the_same(world: World) -> None:
    async with running_work(world.worker(Genie(outcome="Cursed")).run()):
        await world.log.add("a", "Wished")
        await eventually(lambda: bool(world.outcomes))
    genie = Genie()
    async with running_work(world.worker(genie).run()):
        cause = await world.log.add("b", "Wished")
        await eventually(lambda: len(world.outcomes) == 2)
        await eventually(lambda: world.projector.wait_for(world.log.end, 0))
    assert list(await parked(world.pool, world.view)) == [2]
    assert len(await world.pending()) == 1  # the parked one's
    assert [e.causation_id for e in world.outcomes if e.event_id in genie.performed] == [
        world.log._events[cause - 1].event_id
    ]


async def test_a_rebuild_does_nothing_and_neither_does_a_view_that_is_filled_anew(
    pool: Pool, log: Log
) -> None:
    world, first, second = World(pool, log), Genie(), Genie()
    async with running(world.projector), running_work(world.worker(first).run()):
        for n in range(50):
            await log.add(f"s{n}", "Wished")
        await eventually(lambda: len(world.outcomes) == 50)
        await eventually(world.settled)
        assert (await rebuild(world.view, pool, log)).equal
    assert len(first.performed) == 50

    async with pool.connection() as connection:
        await connection.execute("DROP SCHEMA test_wishes CASCADE")
    world.projector = Projector(world.view, pool, log, log.tail, batch_size=1)
    async with running(world.projector), running_work(world.worker(second).run()):
        await log.add("new", "Wished")
        await eventually(lambda: len(world.outcomes) == 51)
        await eventually(world.settled)
    assert second.performed == [world.outcomes[-1].event_id]


async def test_the_log_says_what_is_settled_whatever_the_database_does(world: World) -> None:
    first, second = Genie(), Genie()
    async with running_work(world.worker(first).run()):
        await world.log.add("a", "Wished")
        await eventually(lambda: bool(world.outcomes))
        await eventually(world.settled)
    done = world.log._events[0]
    old = effect(done, "grant", lane=done.stream, stream=done.stream, payload={"n": 1})
    async with world.pool.connection() as connection:  # as in an old copy of it
        await connection.execute("SET LOCAL search_path = test_wishes")
        await append(connection, WishRow, [old])
    async with running_work(world.worker(second).run()):
        await world.log.add("a", "Wished")  # behind it in its lane
        await eventually(lambda: len(world.outcomes) == 2)
    assert second.performed == [world.outcomes[-1].event_id]


async def test_a_process_that_stands_by_opens_no_handle(world: World) -> None:
    await eventually(lambda: world.projector.state == "live")
    standby = world.another_projector()
    async with running(standby):
        await eventually(lambda: standby.state == "standby")
        idle, genie = Genie(), Genie()
        outbox = Outbox(view=world.view, table=WishRow, open=idle.opened, give_up_s=DAY)
        worker = OutboxWorker(outbox, world.pool, world.log, standby, now)
        async with running_work(worker.run()), running_work(world.worker(genie).run()):
            await world.log.add("a", "Wished")
            await eventually(lambda: bool(world.outcomes))
            await eventually(world.settled)
    assert (idle.performed, worker.pending) == ([], None)
    assert len(genie.performed) == 1


async def test_a_handle_is_closed_with_the_worker(world: World) -> None:
    genie = Genie()
    async with running_work(world.worker(genie).run()):
        await eventually(lambda: genie.open == 1)
    assert genie.open == 0


class Away:
    """A log whose streams can't be read, each time once, after a conflict or at the reads that are named."""

    def __init__(self, log: Log, *reads: int) -> None:
        self.log, self.reads, self.read, self.away = log, reads, 0, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    async def append(self, *args: Any, **options: Any) -> int:
        try:
            return await self.log.append(*args, **options)
        except ConcurrencyConflict:
            self.away = True
            raise

    async def read_stream(self, stream: str) -> list[RecordedEvent]:
        self.read += 1
        if self.away or self.read in self.reads:
            self.away = False
            raise LogUnavailable("away")
        return await self.log.read_stream(stream)


async def test_what_is_done_is_not_done_again_when_its_guard_can_not_be_read(world: World) -> None:
    class Interrupted(Genie):
        async def perform(self, row: OutboxRow) -> Verdict:
            await world.log.add("a", "Unrelated")  # so that the outcome's append conflicts
            return await super().perform(row)

    genie, away = Interrupted(), Away(world.log)
    async with running_work(world.worker(genie, log=away).run()):
        await world.log.add("a", "Wished")
        await eventually(world.settled)
    assert len(genie.performed) == 1
    assert away.read == 3


async def test_one_that_fails_leaves_those_beside_it_to_come_to_their_end(world: World) -> None:
    class Slow(Genie):
        async def perform(self, row: OutboxRow) -> Verdict:
            await asyncio.sleep(2)  # longer than its lane waits
            return await super().perform(row)

    genie = Slow()
    for _ in range(2):
        await world.log.add("a", "Wished")
    assert await world.projector.wait_for(2, 30)
    async with running_work(world.worker(genie, log=Away(world.log, 2)).run()):
        await eventually(world.settled)
    assert len(genie.performed) == len(set(genie.performed)) == 2


class Verbose(Genie):
    """Says so much of the first ones that no log takes it, or what no codec can write."""

    def __init__(self, data: Any, count: int) -> None:
        super().__init__()
        self.data, self.count = data, count

    def outcome(self, row: OutboxRow, verdict: Done | Park) -> Any:
        return ("Granted", 1, self.data) if row.key in self.performed[: self.count] else ("Granted", 1, b"{}")


@pytest.mark.parametrize("data", [b" " * 300_000, None], ids=["too_large", "unwritable"])
async def test_what_is_done_is_not_done_again_when_its_outcome_can_not_be_recorded(
    world: World, data: Any
) -> None:
    genie = Verbose(data, 40)  # more than all slots
    worker = world.worker(genie)
    async with running_work(worker.run()):
        for n in range(40):
            await world.log.add(f"s{n % 2}", "Wished")
        await eventually(lambda: len(worker.refused) == 40)
        await world.log.add("s0", "Wished")  # behind them in their lane
        await world.log.add("s2", "Wished")
        await eventually(lambda: len(world.outcomes) == 2)
        await eventually(lambda: worker.pending == 40)

        async with world.pool.connection() as connection:
            await connection.execute("DROP SCHEMA test_wishes CASCADE")
        await world.log.add("s3", "Wished")  # the view is rebuilt
        await eventually(lambda: len(world.outcomes) == 3)
        await eventually(lambda: worker.pending == 40)
    assert len(genie.performed) == len(set(genie.performed)) == 43
    assert not worker.refused & {outcome.event_id for outcome in world.outcomes}


async def test_an_outcome_that_the_broker_refuses_for_good_holds_up_no_other(
    pool: Pool, nats_server: Broker
) -> None:
    place = await new_place(nats_server)
    place.codec = Codec()
    client = await connect(nats_server)
    config: dict[str, Any] = events_config(place.stream, place.prefix).as_dict() | {"max_msg_size": 4096}
    await client.jetstream().update_stream(**config)
    await client.close()

    genie = Verbose(b" " * 8192, 1)
    async with place.log() as log, Tail(log, after=0) as tail:
        stream, wished = place.subject("a"), ("Wished", 1, b"{}")
        with pytest.raises(AppendRefused):
            await log.append(stream, [a_new(("Wished", 1, b" " * 8192))], expected_position=0)
        first = await log.append(stream, [a_new(wished)], expected_position=0)
        projector = Projector(Wishes(), pool, log, tail)
        outbox = Outbox(view=projector.view, table=WishRow, open=genie.opened, give_up_s=DAY)
        worker = OutboxWorker(outbox, pool, log, projector, now)
        async with running(projector), running_work(worker.run()):
            await eventually(lambda: len(worker.refused) == 1)
            await log.append(stream, [a_new(wished)], expected_position=first)
            await eventually(lambda: len(genie.performed) == 2)
            await eventually(lambda: worker.pending == 1)
        events = await everything(log)
    assert [event.type for event in events] == ["Wished", "Wished", "Granted"]
    assert worker.refused == {genie.performed[0]}
    assert events[-1].event_id == genie.performed[1]
