"""One batch of events into one view: one transaction, and what becomes of an event that can't be folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from remote_claude.eventsourcing.errors import UNKNOWN_EVENT, UNKNOWN_VERSION
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import (
    lock_checkpoint,
    move_checkpoint,
    read_dropped,
    read_parked,
)
from remote_claude.eventsourcing.views import View

# SQLSTATE classes that blame the data: cardinality, data, integrity, view check, size limits, RAISE.
DATA_CLASSES = frozenset({"21", "22", "23", "44", "54", "P0"})


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a view could not fold, and why."""

    event: RecordedEvent
    reason: str


@dataclass(slots=True)
class ViewBatch:
    """A run of the log as one view sees it: up to `end`, what to fold, what to park.

    `stop` says why nothing after `end` may be applied.
    """

    end: int
    fold: list[RecordedEvent] = field(default_factory=list)
    parked: list[DeadLetter] = field(default_factory=list)
    stop: str | None = None


class PoisonError(Exception):
    """`apply` swallowed an error of the database, and with it the whole transaction."""


class Applier:
    """Applies one batch after another to the schema that its connection's search path names.

    The view holds everything up to `position`; the checkpoint is at `stored`, behind it only by events that the
    view ignores. `stop` says why it can't go on. `parked` is how many events are parked, as last seen.
    """

    def __init__(
        self,
        view: View,
        connection: AsyncConnection[Any],
        position: int,
        parked: Mapping[str, int] | None = None,
        dropped: Collection[str] = (),
    ) -> None:
        self._view, self._connection = view, connection
        self._parked = Counter(parked)  # by stream
        self._dropped = frozenset(dropped)
        self.position = self.stored = position
        self.stop: str | None = None

    @classmethod
    async def at(cls, view: View, connection: AsyncConnection[Any], position: int) -> Applier:
        """One that goes on with a view: it knows what is parked, and which events an administrator dropped."""
        dropped = await read_dropped(connection, view.name)
        return cls(view, connection, position, await read_parked(connection), dropped)

    @property
    def parked(self) -> int:
        return self._parked.total()

    async def look(self) -> None:
        """See what is still parked: an administrator may have tried it again."""
        self._parked = Counter(await read_parked(self._connection))

    async def apply(self, events: Sequence[RecordedEvent]) -> list[DeadLetter]:
        """Apply a batch in a transaction of its own; nothing is written when the view ignores all of it.

        Returns what was parked. Raises `CheckpointMoved`, and `psycopg.Error` where the database is to blame.
        """
        letters: list[DeadLetter] = []
        async with AsyncExitStack() as transaction:
            if self._parked:  # taking an event out of there holds the same lock
                await transaction.enter_async_context(self._connection.transaction())
                await lock_checkpoint(self._connection, self.stored, self._view.version)
                await self.look()
            batch = sift(self._view, events, self.position, self._parked.keys(), self._dropped)
            written = bool(batch.fold or batch.parked)
            if written:
                letters = await apply_batch(self._connection, self._view, batch, start=self.stored)
        if written:
            self._parked.update(letter.event.stream for letter in letters)
            self.stored = batch.end
        self.position, self.stop = batch.end, batch.stop
        return letters

    async def write_checkpoint(self) -> None:
        """Move the checkpoint over the ignored events."""
        if self.stored != self.position:
            await move_checkpoint(self._connection, self.stored, self.position, self._view.version)
            self.stored = self.position


def sift(
    view: View,
    events: Sequence[RecordedEvent],
    start: int,
    parked: Collection[str] = (),
    dropped: Collection[str] = (),
) -> ViewBatch:
    """Keep what the view handles and can decode.

    `parked` are the streams with a parked event, `dropped` the ids of events that are not to be folded.
    """
    batch, parked, handles = ViewBatch(events[-1].position), set(parked), view.handles
    end = start
    for event in events:
        if event.type in handles and event.event_id not in dropped:
            if event.stream in parked:
                batch.parked.append(_follower(event))
            else:
                try:
                    _ = event.event
                except Exception as error:
                    code = getattr(error, "code", None)
                    if code == UNKNOWN_VERSION:
                        batch.end = end
                        batch.stop = (
                            f"{event!r} is of a version that this release can't read: {error}. Upgrade it."
                        )
                        return batch
                    if code != UNKNOWN_EVENT:
                        batch.parked.append(DeadLetter(event, _reason(error)))
                        parked.add(event.stream)
                else:
                    batch.fold.append(event)
        end = event.position
    return batch


async def apply_batch(
    connection: AsyncConnection[Any], view: View, batch: ViewBatch, *, start: int
) -> list[DeadLetter]:
    """Move the checkpoint from `start` to the batch's end, fold it, park what can't be. All of it, or nothing.

    Returns what was parked. Raises `CheckpointMoved`, and `psycopg.Error` where the database is to blame.
    """
    try:
        async with connection.transaction():
            await move_checkpoint(connection, start, batch.end, view.version)
            if batch.fold:
                await _fold(connection, view, batch.fold)
            await _park(connection, batch.parked)
        return batch.parked
    except Exception as error:
        if not _is_poison(connection, error):
            raise
    async with connection.transaction():
        await move_checkpoint(connection, start, batch.end, view.version)
        parked = batch.parked + await fold_around_poison(connection, view, batch.fold)
        await _park(connection, parked)
    return parked


async def _fold(connection: AsyncConnection[Any], view: View, events: list[RecordedEvent]) -> None:
    try:
        await view.apply(connection, events)
    except psycopg.Error:
        raise
    except Exception as error:
        raise PoisonError(_reason(error)) from error
    if connection.info.transaction_status == TransactionStatus.INERROR:
        raise PoisonError("apply() swallowed an error of the database")


async def fold_around_poison(
    connection: AsyncConnection[Any], view: View, events: list[RecordedEvent]
) -> list[DeadLetter]:
    """Halve the batch, each part in its savepoint, until what can't be folded is alone; returns that."""
    parked: list[DeadLetter] = []
    streams: set[str] = set()
    todo = [events]
    while todo:
        part = todo.pop()
        parked += [_follower(event) for event in part if event.stream in streams]
        part = [event for event in part if event.stream not in streams]
        if not part:
            continue
        try:
            async with connection.transaction():
                await _fold(connection, view, part)
        except Exception as error:
            if not _is_poison(connection, error):
                raise
            if len(part) == 1:
                parked.append(DeadLetter(part[0], _reason(error)))
                streams.add(part[0].stream)
            else:
                half = len(part) // 2
                todo += [part[half:], part[:half]]
    return parked


async def _park(connection: AsyncConnection[Any], letters: Sequence[DeadLetter]) -> None:
    if not letters:
        return
    rows = [
        (e.position, _storable(e.event_id), e.stream, _storable(e.type), e.version, letter.reason)
        for letter in letters
        for e in [letter.event]
    ]
    async with connection.cursor() as cursor:
        await cursor.executemany("INSERT INTO parked VALUES (%s, %s, %s, %s, %s, %s)", rows)


def _is_poison(connection: AsyncConnection[Any], error: Exception) -> bool:
    """Is it the event's fault, so that trying again is of no use?"""
    if isinstance(error, PoisonError):
        return not connection.closed
    if connection.closed or not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # said by psycopg itself: a value it can't adapt, a NUL in a text
        return isinstance(error, psycopg.DataError | psycopg.ProgrammingError)
    return error.sqlstate[:2] in DATA_CLASSES


def _follower(event: RecordedEvent) -> DeadLetter:
    return DeadLetter(event, "an earlier event of its stream is parked")


def _reason(error: Exception) -> str:
    """One line, without what PostgreSQL can't store."""
    if isinstance(error, PoisonError):
        return str(error)
    return _storable(f"{type(error).__name__}: {error}")[:2000]


def _storable(text: str) -> str:
    """PostgreSQL has no NUL in a text."""
    return text.replace("\0", "\\0")
