"""Before services start: the broker still has what has been read from it. And who may work on the log meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from psycopg import AsyncConnection, sql

from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.postgres.schemas import Pool, connect
from remote_claude.runtime.archive import store
from remote_claude.runtime.archive.errors import (
    ArchiveIncomplete,
    BrokerLostEvents,
    BrokerLostTail,
    LogContradictsArchive,
    LogInMaintenance,
    RolledBack,
)
from remote_claude.runtime.archive.heads import Heads

logger = structlog.get_logger(__name__)

VIEWS = """
SELECT namespace.nspname FROM pg_class class JOIN pg_namespace namespace ON namespace.oid = class.relnamespace
WHERE class.relname = 'checkpoint' AND class.relkind = 'r' AND namespace.nspname <> 'log'
AND namespace.nspname !~ '__(next|old)$' ORDER BY namespace.nspname
"""
SHARED = "SELECT pg_try_advisory_lock_shared(hashtextextended('log/maintenance', 0))"
EXCLUSIVE = "SELECT pg_try_advisory_lock(hashtextextended('log/maintenance', 0))"


@asynccontextmanager
async def working(pool: Pool) -> AsyncIterator[None]:
    """While this lasts, nobody restores or trims the log. Raises `LogInMaintenance`."""
    async with connect(pool, store.SCHEMA) as connection:
        if not await _take(connection, SHARED):
            raise LogInMaintenance("the log is being restored or trimmed: start again when that is done")
        yield


@asynccontextmanager
async def maintaining(pool: Pool, log: JetStreamEventLog) -> AsyncIterator[None]:
    """While this lasts, no process that would write to the log starts. Raises `LogInMaintenance` where one runs."""
    async with connect(pool, store.SCHEMA) as connection:
        if not await _take(connection, EXCLUSIVE):
            raise LogInMaintenance(
                "the log is in use: stop every service and every other rclaude-admin (`rclaude down`), then try again"
            )
        if readers := await log.readers():
            raise LogInMaintenance(
                f"{readers} readers follow the log: stop every service (`rclaude down`), then try again. "
                "The broker forgets one that was killed after a minute"
            )
        yield


async def check(
    log: JetStreamEventLog, pool: Pool, heads: Heads | None = None, *, patience: float = 0.0
) -> None:
    """Hold the log's end against the archive, the views and what was signed last.

    What the broker itself has not noticed (a bit has changed beneath its index) is found where it is read.
    `patience` is in seconds what a new leader of several brokers gets to know how far its log goes.
    Raises `BrokerLostTail`, `RolledBack`, `BrokerLostEvents`, `LogContradictsArchive`, `ArchiveIncomplete`, and
    `LogIncomplete` where the last event can't be read: what comes after it would look like what was there.
    """
    async with connect(pool, store.SCHEMA) as connection:
        head = await store.read_head(connection)
        row = await store.read_row(connection, head.position) if head is not None else None
        allowed = await store.read_trimmed(connection) if head is not None else 0
        read = {"the archive goes": head.position if head is not None else 0}
        read |= {f"the view {view} goes": at for view, at in (await read_views(connection)).items()}
    who, furthest = max(read.items(), key=lambda item: item[1])
    last = await _last(log, furthest, patience)
    if last < read["the archive goes"]:
        raise BrokerLostTail("the archive goes", read["the archive goes"], last)
    if last < furthest:
        raise BrokerLostTail(who, furthest, last)
    if heads is not None and (signed := _signed(heads)) > last:
        raise RolledBack(signed, last)
    trimmed = (await log.bounds())[0] - 1
    if trimmed > read["the archive goes"]:
        raise ArchiveIncomplete(trimmed, read["the archive goes"])
    if lost := await log.lost() + max(0, trimmed - allowed):
        raise BrokerLostEvents(lost)
    if last > trimmed:
        async for _ in log.read(after=last - 1, until=last):
            pass
    if row is None or row.position <= trimmed:
        return
    async for batch in log.read(after=row.position - 1, until=row.position):
        [event] = batch
        if (event.stream, event.headers, event.data) != (row.subject, row.headers, row.data):
            raise LogContradictsArchive(
                f"at position {row.position} the log does not hold the event that was archived from there: "
                "it is another log, or it lost events and was written to since. "
                "Stop every service; `rclaude-admin log verify` says where the two part"
            )


async def read_views(connection: AsyncConnection[Any]) -> dict[str, int]:
    """How far each view is that PostgreSQL has, of whichever service."""
    read = {}
    for (schema,) in await (await connection.execute(VIEWS)).fetchall():
        query = sql.SQL("SELECT position FROM {}").format(sql.Identifier(schema, "checkpoint"))
        found = await (await connection.execute(query)).fetchone()
        read[schema] = found[0] if found is not None else 0
    return read


def _signed(heads: Heads) -> int:
    try:
        return heads.signed()
    except OSError as error:
        logger.warning("what was signed last can't be read", detail=str(error))
        return 0


async def _last(log: JetStreamEventLog, wanted: int, patience: float) -> int:
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    while (last := await log.last_position()) < wanted and loop.time() < end:  # noqa: ASYNC110  it is the broker's
        await asyncio.sleep(0.1)
    return last


async def _take(connection: AsyncConnection[Any], lock: str) -> bool:
    row = await (await connection.execute(sql.SQL(lock))).fetchone()
    return row is not None and bool(row[0])
