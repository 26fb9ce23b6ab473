"""What the scheduler keeps in PostgreSQL: a lock, and a snapshot that it could do without."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from remote_claude.contracts import REGISTRY
from remote_claude.contracts.scheduler import (
    TaskAssigned,
    TaskRejected,
    TaskSucceeded,
    TerminalEvent,
)
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.scheduler.domain.evolve import evolve
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.leadership import LeadershipLost, PostgresElection
from remote_claude.scheduler.projections.snapshots import PostgresSnapshots, code_version
from remote_claude.scheduler.settings import SchedulerSettings
from scheduler_process import (
    Process,
    SimulatedRunner,
    admitted,
    count,
    ended_once,
    happened,
    history,
    say,
    say_at_once,
)
from scheduling import FREE, joined, on_plan, settled, submitted
from servers import until

Pool = AsyncConnectionPool[AsyncConnection[Any]]
TERMINAL = TerminalEvent | TaskRejected


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[Pool]:
    async with AsyncConnectionPool(postgres_dsn, min_size=1, max_size=4, open=False) as pool:
        yield pool


@pytest.fixture
def log() -> InMemoryEventLog:
    return InMemoryEventLog(REGISTRY)


async def kill_the_leaders_connection(dsn: str) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"
        )


class TestElection:
    async def test_one_leads_and_the_next_follows_when_its_term_ends(self, postgres_dsn: str) -> None:
        first, second = PostgresElection(postgres_dsn), PostgresElection(postgres_dsn)
        elected = asyncio.Event()

        async def stand_by() -> None:
            async with second.term():
                elected.set()

        async with first.term():
            waiting = asyncio.create_task(stand_by())
            await _somebody_waits(postgres_dsn)
            assert not elected.is_set()
        await asyncio.wait_for(elected.wait(), 20)
        await waiting

    async def test_one_that_loses_its_connection_learns_it_at_once(self, postgres_dsn: str) -> None:
        async with PostgresElection(postgres_dsn, check_s=60).term() as watch:
            watching = asyncio.ensure_future(watch())
            await asyncio.sleep(0)
            await kill_the_leaders_connection(postgres_dsn)
            with pytest.raises(LeadershipLost):
                await asyncio.wait_for(watching, 20)

    async def test_one_that_is_frozen_loses_the_lock(self, postgres_dsn: str) -> None:
        async with PostgresElection(postgres_dsn, check_s=0.1).term() as watch:
            async with asyncio.timeout(60), PostgresElection(postgres_dsn).term():
                pass  # the first has not been watched, as when its process is stopped
            with pytest.raises(LeadershipLost):
                await asyncio.wait_for(watch(), 20)

    async def test_one_that_watches_keeps_the_lock(self, postgres_dsn: str) -> None:
        async with PostgresElection(postgres_dsn, check_s=0.1).term() as watch:
            watching = asyncio.ensure_future(watch())
            others = asyncio.create_task(PostgresElection(postgres_dsn).term().__aenter__())
            await _somebody_waits(postgres_dsn, "AND backend_start < now() - interval '1 s'")
            assert not watching.done()
            others.cancel()
            watching.cancel()

    async def test_waiting_can_be_given_up(self, postgres_dsn: str) -> None:
        election = PostgresElection(postgres_dsn)
        async with election.term():
            waiting = asyncio.create_task(PostgresElection(postgres_dsn).term().__aenter__())
            await _somebody_waits(postgres_dsn)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with election.term():
            pass

    async def test_without_postgres_the_reason_for_no_leader_is_shown(self) -> None:
        election = PostgresElection("postgresql://nobody@127.0.0.1:1/none")
        waiting = asyncio.create_task(election.term().__aenter__())
        await asyncio.to_thread(until, lambda: election.problem is not None, "a problem is known")
        waiting.cancel()
        assert election.problem == "PostgreSQL does not answer, so no leader can be elected"

    async def test_a_standby_takes_over_and_every_task_ends_once(
        self, log: InMemoryEventLog, postgres_dsn: str
    ) -> None:
        await say(log, on_plan("free", FREE))
        settings = SchedulerSettings(tick_s=0.05)
        processes = [Process(log, settings, PostgresElection(postgres_dsn)) for _ in range(2)]
        async with (
            processes[0].running() as a,
            processes[1].running() as b,
            Tail(log) as tail,
            SimulatedRunner(log, slots=2).running(),
        ):
            await say_at_once(log, (submitted(f"task_{n}") for n in range(60)))
            await happened(tail, log, count(TERMINAL, 5))
            assert (a.leader is None) != (b.leader is None)
            await kill_the_leaders_connection(postgres_dsn)
            await say_at_once(log, (submitted(f"task_{n}") for n in range(60, 110)))
            decided = await happened(tail, log, count(TERMINAL, 110))
        assert ended_once(decided, TERMINAL)
        assert len(admitted(decided)) == 100


async def _somebody_waits(dsn: str, still: LiteralString = "") -> None:
    waiting = (
        "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        "WHERE l.locktype = 'advisory' AND NOT l.granted AND a.datname = current_database() " + still
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        await asyncio.to_thread(
            until, lambda: connection.execute(waiting).fetchone() is not None, "a process waits for the lock"
        )


class TestSnapshots:
    async def test_what_was_kept_comes_back(self, pool: Pool) -> None:
        state = settled(on_plan(), joined(), submitted(), submitted("task_2")).state
        snapshots = PostgresSnapshots(pool)
        assert await snapshots.load() is None
        await snapshots.save(state)
        assert await snapshots.load() == state

    async def test_an_older_one_does_not_replace_a_newer_one(self, pool: Pool) -> None:
        world = settled(on_plan(), joined())
        snapshots = PostgresSnapshots(pool)
        await snapshots.load()
        await snapshots.save(world.record(submitted()).state)
        await snapshots.save(settled(on_plan()).state)
        assert await snapshots.load() == world.state

    async def test_one_of_another_version_of_the_code_is_not_read(self, pool: Pool) -> None:
        snapshots = PostgresSnapshots(pool)
        await snapshots.load()
        await snapshots.save(settled(on_plan()).state)
        async with pool.connection() as connection:
            await connection.execute("UPDATE scheduler.snapshot SET version = 'another'")
        assert await snapshots.load() is None
        assert len(code_version()) == 16

    @pytest.mark.parametrize("ticks", range(12))
    async def test_a_task_cancelled_while_the_pool_hands_over_keeps_no_connection(
        self, postgres_dsn: str, ticks: int
    ) -> None:
        """On Python 3.11 the pool loses a cancellation at one of these ticks, and a group waits for its task for ever."""
        async with AsyncConnectionPool(postgres_dsn, min_size=1, max_size=1, open=False) as small:
            snapshots = PostgresSnapshots(small)
            await snapshots.load()
            async with small.connection():
                saving = asyncio.create_task(snapshots.save(settled(on_plan()).state))
                while not small.get_stats().get("requests_waiting"):  # noqa: ASYNC110 - the pool's state
                    await asyncio.sleep(0)
            for _ in range(ticks):
                await asyncio.sleep(0)
            saving.cancel()
            await asyncio.wait([saving])
            assert saving.cancelled()

    async def test_two_can_start_at_the_same_time(self, pool: Pool) -> None:
        assert await asyncio.gather(*(PostgresSnapshots(pool).load() for _ in range(4))) == [None] * 4

    async def test_a_start_from_a_snapshot_reads_only_what_came_after(
        self, log: InMemoryEventLog, pool: Pool
    ) -> None:
        await say(log, on_plan("free", FREE))
        process = Process(log, snapshots=PostgresSnapshots(pool))
        async with Tail(log) as tail, SimulatedRunner(log, slots=2).running():
            async with process.running():
                await say_at_once(log, (submitted(f"task_{n}") for n in range(60)))
                await happened(tail, log, count(TaskAssigned, 10))
            kept = await PostgresSnapshots(pool).load()
            assert kept is not None
            assert kept.position > 60
            async with process.running() as scheduler:
                await say_at_once(log, (submitted(f"task_{n}") for n in range(60, 110)))
                decided = await happened(tail, log, count(TERMINAL, 110))
                await scheduler.fold.reached(await log.last_position())
                live = scheduler.state
        assert ended_once(decided, TERMINAL)
        assert sum(isinstance(event, TaskSucceeded) for event in decided) == 100
        replayed = SchedulerState()
        for recorded in await history(log):
            evolve(replayed, recorded)
        assert live == replayed

    @pytest.mark.parametrize("ahead", [0, 5])
    async def test_a_snapshot_of_another_log_is_discarded(
        self, log: InMemoryEventLog, pool: Pool, ahead: int
    ) -> None:
        snapshots = PostgresSnapshots(pool)
        await snapshots.load()
        await snapshots.save(settled(on_plan(), *(joined() for _ in range(ahead))).state)
        await say(log, on_plan("free", FREE))
        async with Process(log, snapshots=snapshots).running() as scheduler:
            async with asyncio.timeout(60):
                await scheduler.fold.reached(1)
            assert scheduler.state.organisations["org_acme"].plan == "free"

    async def test_a_snapshot_that_can_not_be_read_is_one_that_is_not_there(
        self, log: InMemoryEventLog, pool: Pool
    ) -> None:
        snapshots = PostgresSnapshots(pool)
        await snapshots.load()
        await snapshots.save(settled(on_plan()).state)
        async with pool.connection() as connection:
            await connection.execute(
                r"UPDATE scheduler.snapshot SET state = replace(encode(state, 'escape'), 'vcpu', 'cpus')::bytea"
            )
        await say(log, on_plan("free", FREE))
        async with Process(log, snapshots=snapshots).running() as scheduler:
            async with asyncio.timeout(60):
                await scheduler.fold.reached(1)
            assert scheduler.state.organisations["org_acme"].plan == "free"

    async def test_a_snapshot_that_cannot_be_stored_harms_nothing(
        self, log: InMemoryEventLog, pool: Pool
    ) -> None:
        async with Process(log, snapshots=PostgresSnapshots(pool)).running() as scheduler:
            await say(log, on_plan())
            await scheduler.fold.reached(1)
            async with pool.connection() as connection:
                await connection.execute("DROP SCHEMA scheduler CASCADE")
