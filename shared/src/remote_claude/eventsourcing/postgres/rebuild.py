"""Builds a new copy of a view beside the live one, compares the two, and swaps."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from psycopg import AsyncConnection, IsolationLevel, sql
from psycopg.errors import LockNotAvailable

from remote_claude.eventsourcing.arrivals import Arrivals
from remote_claude.eventsourcing.errors import RebuildInProgress, ViewStopped
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.postgres.batches import Applier
from remote_claude.eventsourcing.postgres.canonical_rows import Difference, compare
from remote_claude.eventsourcing.postgres.locks import try_lock, view_lock
from remote_claude.eventsourcing.postgres.schemas import (
    Checkpoint,
    Pool,
    connect,
    create_schema,
    lock_schemas,
    read_checkpoint,
)
from remote_claude.eventsourcing.views import View

BATCH = 8000
NEARLY_THERE = 2000  # positions: when the last round was no longer, the live view is paused for the next
ROUNDS = 20  # a live view that moves as fast as its rebuild is paused all the same

Progress = Callable[[int, int, str], None]
"""Called now and then with what is done, of how much (0: unknown), and the phase: fold, compare, swap.

Folding goes by positions of the log, comparing by rows.
"""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildResult:
    """What a rebuild found. `equal` is None where there was nothing of the same version to compare with.

    `position` is where they were compared, `rows` how many were: all, or those before the first difference.
    `seconds` is the time that reading and folding `events` up to there took.
    """

    view: str
    position: int
    events: int
    seconds: float
    rows: int
    parked: int
    equal: bool | None
    difference: Difference | None


async def rebuild(
    view: View, pool: Pool, log: EventLog, *, progress: Progress | None = None, swap: bool = True
) -> RebuildResult:
    """Build `<view>__next` from position 0, compare it with the live view at the same position, swap it in.

    The live view is read and moves on meanwhile; it is paused for the last few events before the comparison and
    before the swap. With `swap=False` the result is thrown away. A live view of another version is not compared;
    one that has applied more than the log holds is replaced by what the log holds.
    Raises `RebuildInProgress`, and `ViewStopped` at an event that this release can't read.
    """
    fresh, old = f"{view.name}__next", f"{view.name}__old"
    async with connect(pool, fresh) as connection:
        if not await try_lock(connection, view_lock(fresh)):
            raise RebuildInProgress(view.name)
        await _drop(connection, fresh)
        try:
            await create_schema(connection, fresh, view)
            builder = _Builder(view, connection, log, progress, await Applier.at(view, connection, 0))
            result = await _build_and_compare(builder, view, pool, fresh)
            if swap:
                builder.report(0, 0, "swap")
                await _drop(connection, old)
                for table in view.tables.sorted_tables:
                    await connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(fresh, table.name)))
                await builder.approach()
                async with _paused(pool, view.name) as (holder, live):
                    await builder.reach(await builder.goal(live))
                    await _swap(holder, view.name, fresh, old, builder.position, there=live is not None)
                _log.info("view rebuilt", view=view.name, position=builder.position, equal=result.equal)
                await _drop_unless_read(connection, old)
            return result
        finally:
            if not connection.closed:
                await _drop(connection, fresh)


async def _build_and_compare(builder: _Builder, view: View, pool: Pool, fresh: str) -> RebuildResult:
    started = time.monotonic()
    await builder.approach()
    async with connect(pool, view.name) as snapshot, AsyncExitStack() as comparing:
        await snapshot.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        async with _paused(pool, view.name) as (_, live):
            await builder.reach(await builder.goal(live))
            await comparing.enter_async_context(snapshot.transaction())
            # the snapshot is taken here, while nothing moves, and compared when all move again
            await snapshot.execute("SELECT 1")
        position, events, seconds = builder.position, builder.events, time.monotonic() - started
        rows, difference = 0, None
        if comparable := live == Checkpoint(position, view.version):
            rows, difference = await compare(
                snapshot, view.name, fresh, lambda rows: builder.report(rows, 0, "compare")
            )
    return RebuildResult(
        view=view.name,
        position=position,
        events=events,
        seconds=seconds,
        rows=rows,
        parked=builder.parked,
        equal=difference is None if comparable else None,
        difference=difference,
    )


class _Builder:
    """Applies the log to the fresh schema, up to wherever the live view is."""

    def __init__(
        self,
        view: View,
        connection: AsyncConnection[Any],
        log: EventLog,
        progress: Progress | None,
        applier: Applier,
    ) -> None:
        self._view, self._connection, self._eventlog, self._progress = view, connection, log, progress
        self._applier = applier
        self.events = self.parked = 0

    @property
    def position(self) -> int:
        return self._applier.position

    def report(self, done: int, total: int, phase: str) -> None:
        """Pass on the progress, if the caller wants it."""
        if self._progress is not None:
            self._progress(done, total, phase)

    async def goal(self, live: Checkpoint | None) -> int:
        """The position of the live view; the end of the log where that comes first or there is no live view."""
        last = await self._eventlog.last_position()
        return last if live is None else min(live.position, last)

    async def approach(self) -> None:
        """Come so near to the live view that it can be paused for the rest."""
        for _ in range(ROUNDS):
            goal = await self.goal(await read_checkpoint(self._connection, self._view.name))
            behind = goal - self.position
            if behind:
                await self.reach(goal)
            if behind <= NEARLY_THERE:
                return

    async def reach(self, goal: int) -> None:
        """Apply everything up to `goal`."""
        async with Arrivals(self._eventlog.read(after=self.position, until=goal), BATCH) as arrivals:
            while events := await arrivals.next():
                self.parked += len(await self._applier.apply(events))
                if self._applier.stop is not None:
                    raise ViewStopped(self._view.name, self._applier.stop)
                self.events += len(events)
                self.report(self.position, goal, "fold")
        await self._applier.write_checkpoint()


@asynccontextmanager
async def _paused(pool: Pool, schema: str) -> AsyncIterator[tuple[AsyncConnection[Any], Checkpoint | None]]:
    """While this lasts, nobody moves the view or creates it."""
    async with connect(pool, schema) as connection, connection.transaction():
        await lock_schemas(connection)
        yield connection, await read_checkpoint(connection, schema, lock=True)


async def _swap(
    connection: AsyncConnection[Any], live: str, fresh: str, old: str, position: int, *, there: bool
) -> None:
    """In one transaction. A reader that waits for the old checkpoint finds it changed, and reads the new one.

    Its position stays: a read that found the old tables just before sees where they were.
    """
    names = {"live": sql.Identifier(live), "fresh": sql.Identifier(fresh), "old": sql.Identifier(old)}
    if there:
        await connection.execute("UPDATE checkpoint SET version = -1")
        await connection.execute(sql.SQL("ALTER SCHEMA {live} RENAME TO {old}").format(**names))
    await connection.execute(sql.SQL("ALTER SCHEMA {fresh} RENAME TO {live}").format(**names))
    await connection.execute("SELECT pg_notify(%s, %s)", [live, str(position)])


async def _drop(connection: AsyncConnection[Any], schema: str) -> None:
    await connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


async def _drop_unless_read(connection: AsyncConnection[Any], schema: str) -> None:
    """A reader that found the old tables just before may still be at it; the next rebuild drops what it holds."""
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '10s'")
            await _drop(connection, schema)
    except LockNotAvailable:
        _log.warning("old tables are still being read and stay until the next rebuild", schema=schema)
