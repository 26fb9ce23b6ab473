"""However a projector, its connection or its PostgreSQL ends: every event once."""

import asyncio
import os
import signal
from collections.abc import Coroutine, Generator, Iterator
from typing import Any

import psycopg
import pytest

from projecting import Gated, MemoryLog, Tally, eventually, open_pool, parked, running, tally
from remote_claude.eventsourcing.log import LogUnavailable
from remote_claude.eventsourcing.projector import Projector
from remote_claude.eventsourcing.schemas import Pool
from servers import Database, running_postgres


class CancelledAt:
    """Runs a coroutine and cancels it where it waits for the n-th time."""

    def __init__(self, work: Coroutine[Any, Any, None], step: int) -> None:
        self._work, self._step = work, step

    def __await__(self) -> Generator[Any, Any, None]:
        inner = self._work.__await__()
        waits = inner.send(None)
        for step in range(1_000_000):
            try:
                if step == self._step:
                    raise asyncio.CancelledError
                answer = yield waits
            except BaseException as error:
                waits = inner.throw(error)
            else:
                waits = inner.send(answer)


async def drive(work: CancelledAt) -> None:
    await work


@pytest.fixture
def own_postgres() -> Iterator[Database]:
    with running_postgres() as database:
        yield database


async def test_a_projector_cancelled_at_any_point_leaves_every_event_applied_once(pool: Pool) -> None:
    log, view = MemoryLog(), Tally()
    step, through = 0, False
    while not through:
        log.add("a")
        log.add(f"p{step}", "Cursed")
        log.add("a")
        interrupted = Projector(view, pool, log, log)
        task = asyncio.create_task(drive(CancelledAt(interrupted.run(), step)))
        arrival = asyncio.create_task(interrupted.wait_for(log.position, 30))
        await asyncio.wait({task, arrival}, return_when=asyncio.FIRST_COMPLETED)
        through = not task.done()  # it waits for the next event: there is no later point
        task.cancel()
        arrival.cancel()
        await asyncio.wait({task, arrival})
        async with running(Projector(view, pool, log, log)) as successor:
            assert await successor.wait_for(log.position, 30)
        step += 1
        assert await tally(pool, view) == {"a": (2 * step, log.position)}
        assert len(await parked(pool, view)) == step
    assert step > 20


async def test_a_killed_backend_in_mid_transaction_loses_and_repeats_nothing(own_postgres: Database) -> None:
    log, view = MemoryLog(), Gated()
    async with open_pool(own_postgres.dsn) as pool, running(Projector(view, pool, log, log)) as projector:
        for kill in (_terminate, _kill_backend):
            log.add("a")
            await view.inside.wait()
            await kill(own_postgres, view.backend)
            view.gate.set()
            assert await projector.wait_for(log.position, 60)
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
) -> None:
    log, view = MemoryLog(), Gated()
    async with open_pool(own_postgres.dsn) as pool, running(Projector(view, pool, log, log)) as projector:
        for _ in range(2):
            log.add("a")
            log.add("b")
            await view.inside.wait()
            await asyncio.to_thread(own_postgres.kill)
            view.gate.set()
            await eventually(lambda: projector.state == "retrying")
            await asyncio.to_thread(own_postgres.start)
            assert await projector.wait_for(log.position, 60)
            assert projector.state == "live"
            view.gate.clear()
            view.inside.clear()
    async with open_pool(own_postgres.dsn) as pool:
        assert await tally(pool, view) == {"a": (2, 3), "b": (2, 4)}


async def test_postgresql_may_be_away_when_the_projector_starts(own_postgres: Database) -> None:
    log, view = MemoryLog(), Tally()
    log.add("a")
    await asyncio.to_thread(own_postgres.stop)
    pool: Pool
    async with open_pool(own_postgres.dsn) as pool, running(Projector(view, pool, log, log)) as projector:
        await eventually(lambda: projector.state == "retrying")
        await asyncio.to_thread(own_postgres.start)
        assert await projector.wait_for(1, 60)


async def test_a_log_that_is_out_of_reach_is_tried_again(pool: Pool) -> None:
    class Flaky(MemoryLog):
        away = 2

        def subscribe(self, *, after: int):  # type: ignore[no-untyped-def]
            if self.away:
                self.away -= 1
                raise LogUnavailable("no answer")
            return super().subscribe(after=after)

    log, view = Flaky(), Tally()
    log.add("a")
    async with running(Projector(view, pool, log, log)) as projector:
        assert await projector.wait_for(1, 30)
    assert await tally(pool, view) == {"a": (1, 1)}


async def test_a_view_that_was_dropped_is_made_again_from_the_log(pool: Pool) -> None:
    log, view = MemoryLog(), Tally()
    log.add("a")
    async with running(Projector(view, pool, log, log)) as projector:
        assert await projector.wait_for(1, 30)
        async with pool.connection() as connection:
            await connection.execute("DROP SCHEMA test_tally CASCADE")
        log.add("a")
        await eventually(lambda: projector.position == 2)
    assert await tally(pool, view) == {"a": (2, 2)}
