"""A rebuild gives the live view again, finds what is not, and is swapped in under readers and appliers."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from psycopg import AsyncConnection

from projecting import Gated, Log, Tally, cancelled_at, eventually, parked, running, stored_position, tally
from rebuilding import assert_rebuild_equals_live
from remote_claude.eventsourcing.errors import RebuildInProgress, ViewStopped
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.canonical_rows import canonical_rows, digest
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import reading
from remote_claude.eventsourcing.tail import Tail


async def apply_all(log: Log, view: Tally, pool: Pool) -> None:
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(log.end, 30)


async def schemas(pool: Pool) -> list[str]:
    async with pool.connection() as connection:
        found = await connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname ~ '^test_' ORDER BY 1"
        )
        return [name for (name,) in await found.fetchall()]


async def test_canonical_rows_are_every_row_by_table_and_key(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("b")
    await log.add("a")
    await log.add("c", "Cursed")
    await apply_all(log, view, pool)
    assert [row async for row in canonical_rows(pool, view.name)] == [
        b'parked {"type": "Cursed", "stream": "ev.test.o.thing.c", "version": 1, '
        b'"event_id": "00000000-0000-0000-0000-000000000003", "position": 3}',
        b'tally {"last": 2, "count": 1, "total": 1, "stream": "ev.test.o.thing.a"}',
        b'tally {"last": 1, "count": 1, "total": 1, "stream": "ev.test.o.thing.b"}',
    ]


async def test_a_rebuild_equals_the_live_view_however_it_was_batched(pool: Pool, log: Log) -> None:
    view = Tally()
    live = Projector(view, pool, log, log.tail, batch_size=7, ignored_interval=600)
    async with running(live) as projector:
        for n in range(500):
            await log.add(f"s{n % 40}", "Cursed" if n in (100, 333) else "Ignored" if n % 3 else "Counted")
        assert await projector.wait_for(500, 30)
        await log.add("s0", "Ignored")
        assert await projector.wait_for(501, 30)
        before = await digest(pool, view.name)
        seen: list[tuple[int, int, str]] = []
        result = await rebuild(view, pool, log, progress=lambda *told: seen.append(told))
    assert result.equal is True
    assert result.difference is None
    assert (result.position, result.events, result.parked) == (500, 500, 6)
    assert result.rows == 40 + 6
    assert seen == [(500, 500, "fold"), (1, 0, "compare"), (0, 0, "swap")]
    assert await digest(pool, view.name) == before
    assert await schemas(pool) == ["test_tally"]


async def test_a_planted_difference_is_found_and_mended(pool: Pool, log: Log) -> None:
    view = Tally()
    for n in range(30):
        await log.add(f"s{n % 10}")
    await apply_all(log, view, pool)
    clean = await digest(pool, view.name)
    for damage, live, rebuilt in (
        ("UPDATE test_tally.tally SET total = 4 WHERE stream ~ 's4'", '"total": 4', '"total": 3'),
        ("DELETE FROM test_tally.tally WHERE stream ~ 's9'", None, "s9"),
        ("INSERT INTO test_tally.tally VALUES ('zz', 1, 1, 1)", "zz", None),
    ):
        async with pool.connection() as connection:
            await connection.execute(damage)
        with pytest.raises(AssertionError, match="test_tally at 30: live: "):
            await assert_rebuild_equals_live(view, pool, log)
        result = await rebuild(view, pool, log)
        assert result.equal is False
        assert result.difference is not None
        assert (live is None) == (result.difference.live is None)
        assert (live or "") in (result.difference.live or "")
        assert (rebuilt or "") in (result.difference.rebuilt or "")
        assert await digest(pool, view.name) == clean


async def test_swapping_under_readers_and_a_live_applier_disturbs_neither(pool: Pool, log: Log) -> None:
    view = Tally()
    for n in range(3000):
        await log.add(f"s{n % 50}")
    stop = asyncio.Event()
    reads = [0, 0]

    async def append() -> None:
        while not stop.is_set():
            await log.add("hot")
            await asyncio.sleep(0.001)

    async def read(prepared: bool) -> None:
        """A view never goes back, never misses a row, and what is read together belongs together."""
        seen = 0
        while not stop.is_set():
            if prepared:
                async with pool.connection() as connection:
                    row = await (
                        await connection.execute(
                            "SELECT (SELECT position FROM test_tally.checkpoint), last, count,"
                            " (SELECT sum(count)::int FROM test_tally.tally)"
                            " FROM test_tally.tally WHERE stream ~ 'hot'",
                            prepare=True,
                        )
                    ).fetchone()
                assert row is not None
                position, last, count, total = row
            else:
                async with reading(pool, view, org=None) as connection:
                    found = await connection.execute(
                        "SELECT (SELECT position FROM checkpoint), last, count,"
                        " (SELECT sum(count)::int AS sum FROM tally) FROM tally WHERE stream ~ 'hot'"
                    )
                    row = await found.fetchone()
                assert row is not None
                position, last, count, total = row.values()
            assert position == last == total
            assert count == total - 3000
            assert count >= seen
            seen = count
            reads[prepared] += 1

    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(await log.add("hot"), 30)
        async with asyncio.TaskGroup() as group:
            for work in (append(), read(False), read(True)):
                group.create_task(work)
            for _ in range(3):
                result = await rebuild(view, pool, log)
                assert result.equal is True
                assert await projector.wait_for(await log.add("hot"), 30)
            stop.set()
        assert await projector.wait_for(log.end, 30)
        assert projector.state == "live"
    assert min(reads) > 10
    assert (await tally(pool, view))["hot"] == (log.end - 3000, log.end)
    await assert_rebuild_equals_live(view, pool, log)


async def test_a_view_of_a_newer_version_is_built_beside_the_old_one_which_serves_meanwhile(
    pool: Pool,
    log: Log,
) -> None:
    old, new = Tally(version=1), Gated(version=2)
    await log.add("a")
    async with running(Projector(old, pool, log, log.tail)) as first:
        assert await first.wait_for(1, 30)
        async with running(Projector(new, pool, log, log.tail)) as second:
            await new.inside.wait()
            assert second.state == "building"
            assert await first.wait_for(await log.add("a"), 30)
            assert await tally(pool, old) == {"a": (2, 2)}
            new.gate.set()
            await eventually(lambda: second.state == "standby")
            assert await second.wait_for(await log.add("a"), 30)
            assert await first.wait_for(3, 30)
            assert (first.state, second.state) == ("standby", "live")
            assert first.reason is not None
            assert "a newer release has built version 2, this one has 1" in first.reason
    assert await tally(pool, new) == {"a": (3, 3)}
    assert await schemas(pool) == ["test_tally"]


async def test_two_processes_of_a_newer_version_build_it_once(pool: Pool, log: Log) -> None:
    new = Gated(version=2)
    await log.add("a")
    await apply_all(log, Tally(version=1), pool)
    async with running(Projector(new, pool, log, log.tail, standby_interval=0.05)) as one:
        await new.inside.wait()
        async with running(Projector(new, pool, log, log.tail, standby_interval=0.05)) as two:
            await eventually(lambda: two.state == "building")
            with pytest.raises(RebuildInProgress):
                await rebuild(new, pool, log)
            new.gate.set()
            await eventually(lambda: {one.state, two.state} == {"live", "standby"})
    assert await tally(pool, new) == {"a": (1, 1)}


async def test_an_older_release_gets_its_view_back_by_a_rebuild(pool: Pool, log: Log) -> None:
    old = Tally(version=1)
    await log.add("a")
    await apply_all(log, Tally(version=2), pool)
    async with running(Projector(old, pool, log, log.tail, standby_interval=0.05)) as projector:
        await eventually(lambda: projector.reason is not None)
        assert (await rebuild(old, pool, log)).equal is None
        await eventually(lambda: projector.state == "live")


async def test_a_view_that_is_not_there_yet_is_built_to_the_end_of_the_log(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a")
    await log.add("a", "Ignored")
    result = await rebuild(view, pool, log)
    assert (result.position, result.equal) == (2, None)
    assert await tally(pool, view) == {"a": (1, 1)}
    assert await stored_position(pool, view) == 2


async def test_a_rebuild_makes_good_a_log_that_lost_its_tail(pool: Pool, log: Log) -> None:
    view = Tally()
    for _ in range(3):
        await log.add("a")
    await apply_all(log, view, pool)
    log.lose_last()
    assert (await rebuild(view, pool, log)).equal is None
    async with Tail(log) as log.tail:
        await apply_all(log, view, pool)
    assert await tally(pool, view) == {"a": (2, 2)}


async def test_what_was_parked_is_folded_by_a_rebuild_with_mended_code(pool: Pool, log: Log) -> None:
    class Mended(Tally):
        async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
            for event in events:
                event.type = "Counted"
            await super().apply(connection, events)

    view = Tally()
    await log.add("a", "Cursed")
    await log.add("a")
    await apply_all(log, view, pool)
    assert list(await parked(pool, view)) == [1, 2]
    assert (await rebuild(Mended(), pool, log)).equal is False
    assert await parked(pool, view) == {}
    assert await tally(pool, view) == {"a": (2, 2)}


async def test_a_rebuild_that_fails_leaves_the_live_view_and_no_rest(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a")
    await log.add("a")
    await apply_all(log, view, pool)
    log.change_version(2, 9)
    with pytest.raises(ViewStopped, match="2 Counted v9"):
        await rebuild(view, pool, log)
    assert await tally(pool, view) == {"a": (2, 2)}
    assert await schemas(pool) == ["test_tally"]


async def test_what_a_killed_rebuild_left_behind_is_in_nobodys_way(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a")
    await apply_all(log, view, pool)
    async with pool.connection() as connection:
        for rest in ("test_tally__next", "test_tally__old"):
            await connection.execute(f"CREATE SCHEMA {rest}; CREATE TABLE {rest}.tally (stream text)")
    assert (await rebuild(view, pool, log)).equal is True
    assert await schemas(pool) == ["test_tally"]


async def test_a_rebuild_cancelled_at_any_point_leaves_a_whole_view_that_goes_on(
    pool: Pool, log: Log
) -> None:
    view = Tally()
    async with running(Projector(view, pool, log, log.tail)) as projector:
        step, finished = 0, False
        while not finished:
            await log.add("a")
            assert await projector.wait_for(await log.add(f"b{step % 5}"), 30)
            before = await tally(pool, view)
            task = asyncio.create_task(cancelled_at(rebuild(view, pool, log), step))
            await asyncio.wait({task})
            finished = not task.cancelled()
            assert await tally(pool, view) == before
            step += 1
        assert step > 50
        await task
        assert await projector.wait_for(await log.add("a"), 30)
    assert (await tally(pool, view))["a"] == (step + 1, log.end)
    await rebuild(view, pool, log)
    assert await schemas(pool) == ["test_tally"]
