"""A projector keeps a view at the end of the log, in one process at a time."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from projecting import Log, Tally, eventually, running, stored_position, tally
from remote_claude.eventsourcing.errors import LogLostTail
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import PositionAhead
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.tail import Tail


async def test_events_become_rows_and_the_position_follows(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a")
    await log.add("b")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        last = await log.add("a")
        assert await projector.wait_for(last, 30)
        assert projector.position == 3
        assert projector.lag == 0
        assert projector.state == "live"
    assert await tally(pool, view) == {"a": (2, 3), "b": (1, 2)}


async def test_the_next_process_goes_on_where_the_last_ended(pool: Pool, log: Log) -> None:
    view = Tally()
    for _ in range(2):
        await log.add("a")
        async with running(Projector(view, pool, log, log.tail)) as projector:
            assert await projector.wait_for(log.end, 30)
    assert await tally(pool, view) == {"a": (2, 2)}


async def test_a_long_backlog_is_applied_in_bounded_batches(pool: Pool, log: Log) -> None:
    view = Tally()
    sizes: list[int] = []

    class Sized(Tally):
        async def apply(self, connection, events):  # type: ignore[no-untyped-def]
            sizes.append(len(events))
            await super().apply(connection, events)

    for n in range(4100):
        await log.add(f"s{n % 7}")
    async with running(Projector(Sized(), pool, log, log.tail)) as projector:
        assert await projector.wait_for(4100, 30)
    assert sizes == [2000, 2000, 100]
    assert sum(count for count, _ in (await tally(pool, view)).values()) == 4100


async def test_waiting_for_a_position_ends_when_it_is_readable_or_the_time_is_up(
    pool: Pool, log: Log
) -> None:
    view = Tally()
    async with running(Projector(view, pool, log, log.tail)) as projector:
        waiting = [asyncio.create_task(projector.wait_for(n, 30)) for n in (1, 2, 2)]
        assert not await projector.wait_for(1, 0.01)
        await log.add("a")
        assert await waiting[0]
        assert await tally(pool, view) == {"a": (1, 1)}
        await log.add("a")
        assert await waiting[1]
        assert await waiting[2]
        assert not await projector.wait_for(3, 0)


async def test_ignored_events_move_the_position_at_once_and_the_checkpoint_rarely(
    pool: Pool, log: Log
) -> None:
    view = Tally()
    async with running(Projector(view, pool, log, log.tail, ignored_interval=3600)) as projector:
        for _ in range(20):
            assert await projector.wait_for(await log.add("a", "Ignored"), 30)
        assert await stored_position(pool, view) == 0
        assert await projector.wait_for(await log.add("a"), 30)
        assert await stored_position(pool, view) == 21
        assert await projector.wait_for(await log.add("a", "Ignored"), 30)
        assert await stored_position(pool, view) == 21


async def test_the_checkpoint_advances_over_ignored_events_when_nothing_else_comes(
    pool: Pool, log: Log
) -> None:
    view = Tally()

    async def stored() -> bool:
        return await stored_position(pool, view) == log.end

    async with running(Projector(view, pool, log, log.tail, ignored_interval=0.05)) as projector:
        await log.add("a")
        for _ in range(3):
            assert await projector.wait_for(await log.add("a", "Ignored"), 30)
            await eventually(stored)


async def test_a_stand_by_follows_the_position_and_takes_over(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a")
    second = Projector(view, pool, log, log.tail, standby_interval=0.05)
    async with running(Projector(view, pool, log, log.tail)) as first:
        assert await first.wait_for(1, 30)
        async with running(second):
            await eventually(lambda: second.state == "standby")
            for _ in range(50):
                assert await second.wait_for(await log.add("a"), 30)
            assert (first.state, second.state) == ("live", "standby")
            assert await tally(pool, view) == {"a": (51, 51)}
    async with running(second):
        await eventually(lambda: second.state == "live")
        assert await second.wait_for(await log.add("a"), 30)
    assert await tally(pool, view) == {"a": (52, 52)}


async def test_of_many_projectors_of_one_view_one_is_live_when_any_is_stopped(pool: Pool, log: Log) -> None:
    view = Tally()
    projectors = [Projector(view, pool, log, log.tail, standby_interval=0.02) for _ in range(3)]
    tasks = [asyncio.create_task(projector.run()) for projector in projectors]
    for _ in range(len(projectors)):
        await log.add("a")
        alive = [n for n, task in enumerate(tasks) if not task.done()]
        for n in alive:
            assert await projectors[n].wait_for(log.end, 30)
        (live,) = [n for n in alive if projectors[n].state == "live"]
        tasks[live].cancel()
        await asyncio.wait({tasks[live]})
    assert await tally(pool, view) == {"a": (3, 3)}


async def test_a_log_that_ends_before_the_view_is_refused_with_what_to_do(pool: Pool, log: Log) -> None:
    view = Tally()
    for _ in range(3):
        await log.add("a")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(3, 30)
    log.lose_last()
    async with Tail(log) as tail:
        projector = Projector(view, pool, log, tail)
        with pytest.raises(LogLostTail, match=r"has applied position 3, but the log ends at 2.*rebuild"):
            await projector.run()
    assert projector.state == "stopped"
    assert await tally(pool, view) == {"a": (3, 3)}


async def test_a_log_that_loses_its_tail_under_a_running_projector_is_refused_too(
    pool: Pool, log: Log
) -> None:
    class Restored(Tail):
        async def subscribe(self, *, after: int) -> AsyncGenerator[list[RecordedEvent], None]:
            raise PositionAhead(3, 2)
            yield []

    view = Tally()
    for _ in range(3):
        await log.add("a")
    async with Restored(log) as tail:
        with pytest.raises(LogLostTail, match="has applied position 3, but the log ends at 2"):
            await Projector(view, pool, log, tail).run()
