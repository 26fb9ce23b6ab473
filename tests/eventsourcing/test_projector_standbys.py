"""Several processes keep one view, and their lock is not to be relied on: it only spares them conflicts."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from psycopg import AsyncConnection

from projecting import Gated, Log, Tally, eventually, running, tally
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.locks import end_if_silent, try_lock, view_lock
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.schemas import Pool, connect


class Unlocked(Tally):
    """Gives the lock away behind its projector's back, with every batch."""

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        await super().apply(connection, events)
        await connection.execute("SELECT pg_advisory_unlock_all()")


async def test_of_three_that_believe_to_hold_the_lock_the_checkpoint_lets_one_through(
    pool: Pool, log: Log
) -> None:
    view = Unlocked()
    together = 0
    async with AsyncExitStack() as stack:
        projectors = [
            await stack.enter_async_context(
                running(Projector(view, pool, log, log.tail, batch_size=7, standby_interval=0.01))
            )
            for _ in range(3)
        ]
        for n in range(300):
            last = await log.add(f"s{n % 5}")
            for projector in projectors if n % 3 == 0 else ():
                assert await projector.wait_for(last, 30)
            together += sum(projector.state == "live" for projector in projectors) > 1
        for projector in projectors:
            assert await projector.wait_for(log.end, 30)
    assert together > 10
    assert await tally(pool, view) == {f"s{n}": (60, 296 + n) for n in range(5)}


async def test_one_that_is_frozen_in_mid_transaction_is_taken_over_from(pool: Pool, log: Log) -> None:
    frozen, view = Gated(), Tally()
    await log.add("a")
    async with running(Projector(frozen, pool, log, log.tail, silence=0.3)) as first:
        await frozen.inside.wait()
        async with running(Projector(view, pool, log, log.tail, standby_interval=0.02)) as second:
            last = await log.add("a")
            assert await second.wait_for(last, 30)
            frozen.gate.set()
            await eventually(lambda: first.state == "retrying")
            assert second.state == "live"
            last = await log.add("b")
            assert await second.wait_for(last, 30)
        assert await first.wait_for(last, 30)
    assert await tally(pool, view) == {"a": (2, 2), "b": (1, 3)}


async def test_a_lock_whose_holder_says_nothing_is_free_after_a_while(pool: Pool, log: Log) -> None:
    view = Tally()
    async with connect(pool, view.name) as silent:
        assert await try_lock(silent, view_lock(view.name))
        await end_if_silent(silent, 0.3)
        async with running(Projector(view, pool, log, log.tail, standby_interval=0.02)) as projector:
            await eventually(lambda: projector.state == "live")


async def test_one_that_has_nothing_to_do_keeps_the_lock(pool: Pool, log: Log) -> None:
    view, silence = Tally(), 0.3
    holder = (
        "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
    )

    async def holders(where: str = "") -> list[Any]:
        async with pool.connection() as connection:
            return await (await connection.execute((holder + where).encode())).fetchall()

    async with running(Projector(view, pool, log, log.tail, silence=silence)) as projector:
        await log.add("a")
        assert await projector.wait_for(1, 30)
        [first] = await holders()
        await eventually(lambda: holders(f" AND backend_start < now() - interval '{4 * silence} s'"))  # type: ignore[arg-type]
        assert await holders() == [first]
        assert projector.state == "live"
