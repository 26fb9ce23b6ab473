"""Waits until a view of billing holds what the log holds."""

from __future__ import annotations

import asyncio

from psycopg import sql

from remote_claude.billing.domain.invoicing import BillingRefusal
from remote_claude.eventsourcing import EventLog
from remote_claude.eventsourcing.postgres.schemas import Pool, query_connection

CATCH_UP_S = 30.0
POLL_S = 0.05


class ViewBehind(BillingRefusal):
    """The view has not reached the log's end in time."""

    status = 503
    code = "not_caught_up"


async def caught_up(log: EventLog, pool: Pool, view: str) -> int:
    """Wait until a view of billing holds what the log holds now; returns that position. Raises `ViewBehind`."""
    position = await log.last_position()
    deadline = asyncio.get_running_loop().time() + CATCH_UP_S
    query = sql.SQL("SELECT position FROM {}").format(sql.Identifier(view, "checkpoint"))
    while True:
        async with query_connection(pool) as connection:
            row = await (await connection.execute(query)).fetchone()
        if row is not None and row[0] >= position:
            return position
        if asyncio.get_running_loop().time() > deadline:
            raise ViewBehind("billing's view is behind the log: is the service running? Try again.")
        await asyncio.sleep(POLL_S)
