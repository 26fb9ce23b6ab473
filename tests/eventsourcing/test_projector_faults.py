"""However a projector, its connection or its PostgreSQL ends: every event once."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterator

import psycopg
import pytest

from projecting import Gated, Log, Tally, cancelled_at, eventually, open_pool, parked, running, tally
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import LogUnavailable
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.tail import Tail
from servers import Database, running_postgres


@pytest.fixture
def own_postgres() -> Iterator[Database]:
    with running_postgres() as database:
        yield database


async def test_a_projector_cancelled_at_any_point_leaves_every_event_applied_once(
    pool: Pool, log: Log
) -> None:
    view = Tally()
    step, through = 0, False
    while not through:
        await log.add("a")
        await log.add(f"p{step}", "Cursed")
        await log.add("a")
        interrupted = Projector(view, pool, log, log.tail)
        task = asyncio.create_task(cancelled_at(interrupted.run(), step))
        arrival = asyncio.create_task(interrupted.wait_for(log.end, 30))
        await asyncio.wait({task, arrival}, return_when=asyncio.FIRST_COMPLETED)
        through = not task.done()  # it waits for the next event: there is no later point
        task.cancel()
        arrival.cancel()
        await asyncio.wait({task, arrival})
        async with running(Projector(view, pool, log, log.tail)) as successor:
            assert await successor.wait_for(log.end, 30)
        step += 1
        assert await tally(pool, view) == {"a": (2 * step, log.end)}
        assert len(await parked(pool, view)) == step
    assert step > 20


async def test_a_killed_backend_in_mid_transaction_loses_and_repeats_nothing(
    own_postgres: Database, log: Log
) -> None:
    view = Gated()
    async with (
        open_pool(own_postgres.dsn) as pool,
        running(Projector(view, pool, log, log.tail)) as projector,
    ):
        for kill in (_terminate, _kill_backend):
            await log.add("a")
            await view.inside.wait()
            await kill(own_postgres, view.backend)
            view.gate.set()
            assert await projector.wait_for(log.end, 60)
            view.gate.clear()
            view.inside.clear()
        view.gate.set()
        await eventually(lambda: projector.state == "live")
    async with open_pool(own_postgres.dsn) as pool:
        assert await tally(pool, view) == {"a": (2, 2)}


async def _terminate(postgres: Database, backend: int) -> None:
    async with await psycopg.AsyncConnection.connect(postgres.dsn) as admin:
        await admin.execute("SELECT pg_terminate_backend(%s, 10000)", [backend])


async def _kill_backend(postgres: Database, backend: int) -> None:
    os.kill(backend, signal.SIGKILL)  # PostgreSQL ends every session and recovers


async def test_kill_9_of_postgresql_in_mid_transaction_loses_and_repeats_nothing(
    own_postgres: Database,
    log: Log,
) -> None:
    view = Gated()
    async with (
        open_pool(own_postgres.dsn) as pool,
        running(Projector(view, pool, log, log.tail)) as projector,
    ):
        for _ in range(2):
            await log.add("a")
            await log.add("b")
            await view.inside.wait()
            await asyncio.to_thread(own_postgres.kill)
            view.gate.set()
            await eventually(lambda: projector.state == "retrying")
            await asyncio.to_thread(own_postgres.start)
            assert await projector.wait_for(log.end, 60)
            assert projector.state == "live"
            view.gate.clear()
            view.inside.clear()
    async with open_pool(own_postgres.dsn) as pool:
        assert await tally(pool, view) == {"a": (2, 3), "b": (2, 4)}


async def test_postgresql_may_be_away_when_the_projector_starts(own_postgres: Database, log: Log) -> None:
    view = Tally()
    await log.add("a")
    await asyncio.to_thread(own_postgres.stop)
    pool: Pool
    async with (
        open_pool(own_postgres.dsn) as pool,
        running(Projector(view, pool, log, log.tail)) as projector,
    ):
        await eventually(lambda: projector.state == "retrying")
        await asyncio.to_thread(own_postgres.start)
        assert await projector.wait_for(1, 60)


async def test_a_log_that_is_out_of_reach_is_tried_again(pool: Pool, log: Log) -> None:
    class Flaky(Tail):
        away = 2

        def subscribe(self, *, after: int) -> AsyncGenerator[list[RecordedEvent], None]:
            if self.away:
                self.away -= 1
                raise LogUnavailable("no answer")
            return super().subscribe(after=after)

    view = Tally()
    await log.add("a")
    async with Flaky(log) as tail, running(Projector(view, pool, log, tail)) as projector:
        assert await projector.wait_for(1, 30)
    assert await tally(pool, view) == {"a": (1, 1)}


async def test_a_tail_that_was_closed_is_a_log_out_of_reach(pool: Pool, log: Log) -> None:
    async with running(Projector(Tally(), pool, log, log.tail)) as projector:
        await eventually(lambda: projector.state == "live")
        await log.tail.close()
        await eventually(lambda: projector.state == "retrying")
        assert projector.reason == "LogUnavailable: the tail was closed"


async def test_a_view_that_was_dropped_is_made_again_from_the_log(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(1, 30)
        async with pool.connection() as connection:
            await connection.execute("DROP SCHEMA test_tally CASCADE")
        await log.add("a")
        await eventually(lambda: projector.position == 2)
    assert await tally(pool, view) == {"a": (2, 2)}
