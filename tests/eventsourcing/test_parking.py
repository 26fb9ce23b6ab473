"""A parked event can be tried again or dropped while the service runs: nothing is folded twice, nothing lost."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg import AsyncConnection

from event_logs import everything, happened, new_place
from projecting import (
    Gated,
    Log,
    Tally,
    TallyRow,
    TallyTables,
    cancelled_at,
    eventually,
    parked,
    running,
    tally,
)
from rebuilding import assert_rebuild_equals_live
from remote_claude.eventsourcing.errors import RebuildInProgress
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.locks import try_lock, view_lock
from remote_claude.eventsourcing.postgres.parking import (
    NotParked,
    OtherVersion,
    drop,
    dropped_events,
    parked_events,
    retry,
)
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.postgres.schemas import Pool, connect
from remote_claude.eventsourcing.postgres.tables import load, upsert
from remote_claude.eventsourcing.tail import Tail
from servers import Broker

AT = datetime(2026, 11, 1, tzinfo=UTC)
FOLLOWER = "an earlier event of its stream is parked"


class Repaired(Tally):
    """The release with the fix: `Cursed` is counted like any other."""

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        rows = await load(connection, TallyRow, {event.stream for event in events})
        for event in events:
            row = rows.setdefault(event.stream, {"stream": event.stream, "count": 0, "total": 0, "last": 0})
            assert row["last"] < event.position, "out of order, or twice"
            row |= {"count": row["count"] + 1, "total": row["total"] + 1, "last": event.position}
        await upsert(connection, TallyRow, rows.values())


async def leave_parked(pool: Pool, log: Log, *types: str) -> None:
    """What the release without the fix leaves: `types` on stream a, and one event on b."""
    for type in types:
        await log.add("a", type)
    await log.add("b")
    async with running(Projector(Tally(), pool, log, log.tail)) as projector:
        assert await projector.wait_for(log.end, 30)


async def test_what_is_tried_again_is_folded_in_order_and_the_running_service_goes_on_behind_it(
    pool: Pool, log: Log
) -> None:
    await leave_parked(pool, log, "Counted", "Cursed", "Counted")
    view = Repaired()
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(await log.add("a"), 30)
        assert (projector.state, projector.parked) == ("live", 3)
        tried = await retry(view, pool, log)
        assert (tried.folded, tried.parked) == ((2, 3, 5), ())
        await eventually(lambda: projector.parked == 0)
        assert await projector.wait_for(await log.add("a"), 30)
        assert projector.parked == 0
    assert await tally(pool, view) == {"a": (5, 6), "b": (1, 4)}
    assert await parked(pool, view) == {}
    await assert_rebuild_equals_live(view, pool, log)


async def test_the_first_event_behind_a_retry_is_folded_even_by_a_service_that_has_not_looked_yet(
    pool: Pool, log: Log
) -> None:
    await leave_parked(pool, log, "Cursed")
    view = Repaired()
    projector = Projector(view, pool, log, log.tail, ignored_interval=3600.0)
    async with running(projector):
        assert await projector.wait_for(2, 30)
        await eventually(lambda: projector.state == "live")
        await retry(view, pool, log)
        assert await projector.wait_for(await log.add("a"), 30)
        assert projector.parked == 0
    assert await tally(pool, view) == {"a": (2, 3), "b": (1, 2)}


async def test_what_still_cannot_be_folded_stays_parked_with_its_reason_anew(pool: Pool, log: Log) -> None:
    await leave_parked(pool, log, "Cursed", "Counted")
    async with connect(pool, Tally.name) as connection:
        await connection.execute("UPDATE parked SET reason = 'something else'")
    tried = await retry(Tally(), pool, log)
    assert tried.folded == ()
    assert [row.position for row in tried.parked] == [1, 2]
    assert await parked(pool, Tally()) == {1: "ValueError: cursed", 2: FOLLOWER}
    assert await tally(pool, Tally()) == {"b": (1, 3)}


async def test_a_second_poison_of_the_same_aggregate_stays_with_what_waits_behind_it(
    pool: Pool, log: Log
) -> None:
    await leave_parked(pool, log, "Cursed", "Counted", "Broken", "Counted")

    class HalfRepaired(Repaired):
        async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
            await super().apply(connection, events)
            if any(event.type == "Broken" for event in events):
                await connection.execute("SELECT 'a lot'::bigint")

    tried = await retry(HalfRepaired(), pool, log, position=1)
    assert tried.folded == (1, 2)
    assert await tally(pool, Tally()) == {"a": (2, 2), "b": (1, 5)}
    reasons = await parked(pool, Tally())
    assert reasons[3].startswith("InvalidTextRepresentation")
    assert reasons == {3: reasons[3], 4: FOLLOWER}


async def test_one_event_is_tried_with_its_own_aggregate_only(pool: Pool, log: Log) -> None:
    await leave_parked(pool, log, "Cursed", "Counted")
    await log.add("c", "Cursed")
    async with running(Projector(Tally(), pool, log, log.tail)) as projector:
        assert await projector.wait_for(log.end, 30)
    assert (await retry(Repaired(), pool, log, position=4)).folded == (4,)
    assert list(await parked(pool, Tally())) == [1, 2]
    with pytest.raises(NotParked, match="waits behind position 1"):
        await retry(Repaired(), pool, log, position=2)
    with pytest.raises(NotParked, match="position 3 is not parked"):
        await retry(Repaired(), pool, log, position=3)
    assert (await retry(Repaired(), pool, log, position=1)).folded == (1, 2)
    with pytest.raises(NotParked, match="nothing is parked"):
        await retry(Repaired(), pool, log)
    assert await tally(pool, Tally()) == {"a": (2, 2), "b": (1, 3), "c": (1, 4)}


async def test_a_retry_waits_for_the_batch_that_is_on_its_way(pool: Pool, log: Log) -> None:
    await leave_parked(pool, log, "Cursed")
    view = Gated()
    async with running(Projector(view, pool, log, log.tail)) as projector:
        await log.add("a")
        await log.add("b")
        await view.inside.wait()  # holds the checkpoint
        trying = asyncio.create_task(retry(Repaired(), pool, log))
        await eventually(lambda: waits_for_a_lock(pool))
        view.gate.set()
        assert await projector.wait_for(4, 30)
        assert (await trying).folded == (1, 3)
        assert await projector.wait_for(await log.add("a"), 30)
    assert await tally(pool, view) == {"a": (3, 5), "b": (2, 4)}


async def waits_for_a_lock(pool: Pool) -> bool:
    async with pool.connection() as connection:
        found = await connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return await found.fetchone() == (1,)


async def test_retries_beside_a_service_that_goes_on_parking_fold_each_event_once_and_in_order(
    pool: Pool, log: Log
) -> None:
    await leave_parked(pool, log, "Cursed")
    repaired, folded = Repaired(), 0

    async def write() -> None:
        for n in range(300):
            await log.add(f"s{n % 7}", "Cursed" if n % 20 == 0 else "Counted")
            await asyncio.sleep(0.001)

    async with running(Projector(Tally(), pool, log, log.tail, batch_size=5)) as projector:
        assert await projector.wait_for(2, 30)
        writing = asyncio.create_task(write())
        while not writing.done() or await parked_events(pool, repaired):
            if await parked_events(pool, repaired):
                folded += len((await retry(repaired, pool, log)).folded)
            if writing.done():
                await writing
                assert await projector.wait_for(log.end, 30)
            await asyncio.sleep(0)
    assert folded > 15
    assert sum(count for count, _ in (await tally(pool, repaired)).values()) == log.end == 302
    await assert_rebuild_equals_live(repaired, pool, log)


async def test_a_retry_interrupted_at_any_point_has_happened_whole_or_not_at_all(
    pool: Pool, log: Log
) -> None:
    await leave_parked(pool, log, "Cursed", "Counted")
    view, step = Repaired(), 0
    while True:
        trying = asyncio.create_task(cancelled_at(retry(view, pool, log), step))
        await asyncio.wait({trying})
        left = list(await parked(pool, view))
        assert (await tally(pool, view)).get("a") == ((2, 2) if not left else None)
        assert left in ([1, 2], [])
        if not left:
            break
        step += 1
    assert step > 5


async def test_what_is_dropped_is_left_out_for_good_and_says_who_and_why(pool: Pool, log: Log) -> None:
    await leave_parked(pool, log, "Cursed", "Counted")
    view = Tally()
    async with running(Projector(view, pool, log, log.tail)) as projector:
        dropped, behind = await drop(view, pool, 1, by="ada", reason="a test", at=AT)
        assert [row.position for row in behind] == [2]
        assert (await retry(view, pool, log)).folded == (2,)
        assert await projector.wait_for(await log.add("a"), 30)
        assert projector.parked == 0
    assert await tally(pool, view) == {"a": (2, 4), "b": (1, 3)}
    assert await dropped_events(pool, view) == [dropped]
    assert (dropped.position, dropped.type, dropped.error) == (1, "Cursed", "ValueError: cursed")
    assert (dropped.dropped_by, dropped.reason, dropped.dropped_at) == ("ada", "a test", AT)
    result = await rebuild(view, pool, log)
    assert (result.equal, result.parked) == (True, 0)
    assert len(await dropped_events(pool, view)) == 1
    with pytest.raises(NotParked, match="position 1 is not parked"):
        await drop(view, pool, 1, by="ada", reason="again", at=AT)


async def test_a_rebuild_after_the_fix_leaves_nothing_parked(pool: Pool, log: Log) -> None:
    await leave_parked(pool, log, "Cursed", "Counted")
    view = Repaired()
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert (await rebuild(view, pool, log)).parked == 0
        assert await projector.wait_for(await log.add("a"), 30)
        await eventually(lambda: projector.parked == 0)
    assert await tally(pool, view) == {"a": (3, 4), "b": (1, 3)}
    assert await parked_events(pool, view) == []


async def test_a_view_of_another_release_and_one_that_is_being_rebuilt_are_left_alone(
    pool: Pool, log: Log
) -> None:
    await leave_parked(pool, log, "Cursed")
    with pytest.raises(OtherVersion, match="is of version 1, this release has 2"):
        await retry(Repaired(version=2), pool, log)
    async with connect(pool, Tally.name) as rebuilder:
        assert await try_lock(rebuilder, view_lock(f"{Tally.name}__next"))
        with pytest.raises(RebuildInProgress):
            await retry(Repaired(), pool, log)
        with pytest.raises(RebuildInProgress):
            await drop(Repaired(), pool, 1, by="ada", reason="a test", at=AT)
    assert list(await parked(pool, Tally())) == [1]


async def test_a_view_that_does_not_exist_yet_has_nothing_parked(pool: Pool, log: Log) -> None:
    assert await parked_events(pool, Tally()) == []
    with pytest.raises(NotParked, match="has not been built"):
        await retry(Tally(), pool, log)
    with pytest.raises(NotParked, match="has not been built"):
        await drop(Tally(), pool, 1, by="ada", reason="a test", at=AT)


class Fussy(Tally):
    """Folds the events of the real broker, except for long ones."""

    handles = frozenset({"Happened"})
    tables = TallyTables.metadata
    longest = 3

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        rows = await load(connection, TallyRow, {event.stream for event in events})
        for event in events:
            if len(event.event.what) > self.longest:
                raise ValueError("too long")
            row = rows.setdefault(event.stream, {"stream": event.stream, "count": 0, "total": 0, "last": 0})
            row |= {"count": row["count"] + 1, "last": event.position}
        await upsert(connection, TallyRow, rows.values())


async def test_over_the_real_broker_another_process_tries_again_what_a_running_one_has_parked(
    fresh_nats: Broker, pool: Pool
) -> None:
    place, view, repaired = await new_place(fresh_nats), Fussy(), Fussy()
    repaired.longest = 100
    async with (
        place.log() as writer,
        place.log() as reader,
        place.log() as administrator,
        Tail(reader) as tail,
        running(Projector(view, pool, reader, tail)) as projector,
    ):
        position = 0
        for what in ("ok", "far too long", "ok", "ok"):
            position = await writer.append(place.subject("a"), [happened(what)], expected_position=position)
        assert await projector.wait_for(position, 30)
        assert [row.position for row in await parked_events(pool, view)] == [2, 3, 4]
        assert (await retry(repaired, pool, administrator)).folded == (2, 3, 4)
        position = await writer.append(place.subject("a"), [happened("ok")], expected_position=position)
        assert await projector.wait_for(position, 30)
        assert await tally(pool, view) == {"a": (5, 5)}
        assert len(await everything(administrator)) == 5
