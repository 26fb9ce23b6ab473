"""What an administrator can do about parked events: see them, try them again, drop them.

Trying again and dropping take the checkpoint's row lock, as every batch does, and the live applier looks at what
is still parked inside that lock: so both are safe beside a service that runs, and need nothing from it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from remote_claude.eventsourcing.errors import RebuildInProgress
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.postgres.batches import fold_around_poison, sift
from remote_claude.eventsourcing.postgres.locks import try_lock, view_lock
from remote_claude.eventsourcing.postgres.schemas import (
    Checkpoint,
    Pool,
    connect,
    lock_schemas,
    read_checkpoint,
)
from remote_claude.eventsourcing.views import View

# Outside the view's schema: a rebuild throws that away, and has to leave out what was dropped.
DROPPED = """
CREATE SCHEMA IF NOT EXISTS parking;
CREATE TABLE IF NOT EXISTS parking.dropped (
    view text NOT NULL, event_id text NOT NULL, position bigint NOT NULL, stream text NOT NULL, type text NOT NULL,
    version int NOT NULL, error text NOT NULL, dropped_by text NOT NULL, reason text NOT NULL,
    dropped_at timestamptz NOT NULL, PRIMARY KEY (view, event_id)
);
"""


class NotParked(Exception):
    """There is no such parked event, or it can't be tried before another one."""

    code = "not_parked"


class OtherVersion(Exception):
    """The view was built by another release, whose code would have to fold the event."""

    code = "other_version"


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that a view could not fold. `reason` is the error, or says that it waits behind an earlier one."""

    position: int
    event_id: str
    stream: str
    type: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class DroppedEvent:
    """An event that a view leaves out from now on, and its rebuilds too. `error` is why it was parked."""

    view: str
    event_id: str
    position: int
    stream: str
    type: str
    version: int
    error: str
    dropped_by: str
    reason: str
    dropped_at: datetime


@dataclass(frozen=True, slots=True)
class Retried:
    """The positions that are folded now, and what is parked still."""

    folded: tuple[int, ...]
    parked: tuple[ParkedEvent, ...]


async def parked_events(pool: Pool, view: View) -> list[ParkedEvent]:
    """What is parked in a view, in log order."""
    async with connect(pool, view.name) as connection:
        if await read_checkpoint(connection, view.name) is None:
            return []
        return await _parked(connection)


async def dropped_events(pool: Pool, view: View) -> list[DroppedEvent]:
    """What was dropped from a view, in log order."""
    async with connect(pool, view.name) as connection:
        await _create_dropped(connection)
        async with connection.cursor(row_factory=class_row(DroppedEvent)) as cursor:
            await cursor.execute(
                "SELECT * FROM parking.dropped WHERE view = %s ORDER BY position", [view.name]
            )
            return await cursor.fetchall()


async def retry(view: View, pool: Pool, log: EventLog, *, position: int | None = None) -> Retried:
    """Fold what is parked, in log order, in one transaction: all of the view's, or one event's aggregate.

    What still can't be folded stays parked, with its new reason, and so does what waits behind it. Views that
    fold several aggregates into one row see these events later than their neighbours: a rebuild is what makes
    such a view as if nothing had ever been parked.
    Raises `NotParked`, `OtherVersion`, `RebuildInProgress`.
    """
    async with connect(pool, view.name) as connection:
        wanted = _wanted(await _there(connection, view), position)
        events = await _read(log, wanted)  # before the view is held up
        async with _holding(connection, view) as checkpoint:
            if checkpoint.version != view.version:
                raise OtherVersion(
                    f"view {view.name} is of version {checkpoint.version}, this release has {view.version}: "
                    f"use the release that runs, or rebuild the view"
                )
            wanted = _wanted(await _parked(connection), position)
            if missing := [row for row in wanted if row.position not in events]:
                events |= await _read(log, missing)
            batch = sift(view, [events[row.position] for row in wanted], 0)
            letters = batch.parked + await fold_around_poison(connection, view, batch.fold)
            reasons = {letter.event.position: letter.reason for letter in letters}
            if batch.stop is not None:
                reasons |= {row.position: batch.stop for row in wanted if row.position > batch.end}
            folded = tuple(row.position for row in wanted if row.position not in reasons)
            await connection.execute("DELETE FROM parked WHERE position = ANY (%s)", [list(folded)])
            async with connection.cursor() as cursor:
                await cursor.executemany(
                    "UPDATE parked SET reason = %s WHERE position = %s",
                    [(reason, place) for place, reason in reasons.items()],
                )
            return Retried(folded, tuple(row for row in await _parked(connection) if row.position in reasons))


async def drop(
    view: View, pool: Pool, position: int, *, by: str, reason: str, at: datetime
) -> tuple[DroppedEvent, list[ParkedEvent]]:
    """Leave one parked event out of a view for good, and write down who did it and why.

    Returns that, and what of its aggregate is still parked. Raises `NotParked`, `RebuildInProgress`.
    """
    async with connect(pool, view.name) as connection:
        await _there(connection, view)
        await _create_dropped(connection)
        async with _holding(connection, view):
            parked = await _parked(connection)
            row = next((row for row in parked if row.position == position), None)
            if row is None:
                raise NotParked(f"position {position} is not parked in view {view.name}")
            dropped = DroppedEvent(
                view.name,
                row.event_id,
                position,
                row.stream,
                row.type,
                row.version,
                row.reason,
                by,
                reason,
                at,
            )
            values = [getattr(dropped, name) for name in DroppedEvent.__slots__]
            await connection.execute(
                "INSERT INTO parking.dropped VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", values
            )
            await connection.execute("DELETE FROM parked WHERE position = %s", [position])
        return dropped, [other for other in parked if other.stream == row.stream and other != row]


def _wanted(parked: Sequence[ParkedEvent], position: int | None) -> Sequence[ParkedEvent]:
    """What is to be tried: everything, or an event and what waits behind it."""
    if position is None:
        if not parked:
            raise NotParked("nothing is parked")
        return parked
    streams = {row.stream for row in parked if row.position == position}
    aggregate = [row for row in parked if row.stream in streams]
    if not aggregate:
        raise NotParked(f"position {position} is not parked")
    if aggregate[0].position != position:
        raise NotParked(
            f"position {position} waits behind position {aggregate[0].position} of its aggregate: try or drop that first"
        )
    return aggregate


async def _there(connection: AsyncConnection[Any], view: View) -> list[ParkedEvent]:
    if await read_checkpoint(connection, view.name) is None:
        raise NotParked(f"view {view.name} has not been built yet")
    return await _parked(connection)


async def _parked(connection: AsyncConnection[Any]) -> list[ParkedEvent]:
    async with connection.cursor(row_factory=class_row(ParkedEvent)) as cursor:
        await cursor.execute("SELECT * FROM parked ORDER BY position")
        return await cursor.fetchall()


async def _read(log: EventLog, rows: Sequence[ParkedEvent]) -> dict[int, RecordedEvent]:
    """The events themselves, by position. Raises `NotParked` when the log does not have one."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(row.stream, row.position)
    events = {
        event.position: event
        for stream, position in first.items()
        for event in await log.read_stream(stream, after=position - 1)
    }
    if missing := [row.position for row in rows if row.position not in events]:
        raise NotParked(f"the log has no event at position {missing[0]}: is it the log of this view?")
    return events


@asynccontextmanager
async def _holding(connection: AsyncConnection[Any], view: View) -> AsyncIterator[Checkpoint]:
    """One transaction in which no other process moves the view, nor rebuilds it from what is known before."""
    if not await try_lock(connection, view_lock(f"{view.name}__next")):
        raise RebuildInProgress(view.name)
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = on")
        checkpoint = await read_checkpoint(connection, view.name, lock=True)
        assert checkpoint is not None  # only a rebuild takes it away
        yield checkpoint


async def _create_dropped(connection: AsyncConnection[Any]) -> None:
    async with connection.transaction():
        await lock_schemas(connection)
        await connection.execute(DROPPED)
