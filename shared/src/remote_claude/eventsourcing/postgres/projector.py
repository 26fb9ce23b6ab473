"""Keeps one view: applies what the tail brings, exactly once, for as long as the process lives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection, sql

from remote_claude.eventsourcing import traces
from remote_claude.eventsourcing.arrivals import Arrivals
from remote_claude.eventsourcing.errors import CheckpointMoved, LogLostTail, RebuildInProgress, ViewStopped
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import (
    EventLog,
    EventLogError,
    LogUnavailable,
    PositionAhead,
    check_reaches,
)
from remote_claude.eventsourcing.positions import Reached
from remote_claude.eventsourcing.postgres.batches import Applier, DeadLetter, PoisonError
from remote_claude.eventsourcing.postgres.isolation import is_isolated, isolate
from remote_claude.eventsourcing.postgres.locks import holding, view_lock
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.postgres.schemas import (
    SILENCE_S,
    Checkpoint,
    Pool,
    connect,
    create_schema,
    lock_schemas,
    read_checkpoint,
)
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.views import View

FIRST_RETRY, LAST_RETRY = 0.1, 5.0

OnBatch = Callable[[View, Sequence[RecordedEvent], Sequence[DeadLetter], int], None]
"""Called after each batch with what was in it, what of that was parked, and when it began, in ns since the epoch."""

_log = structlog.get_logger(__name__)


class ProjectorState(StrEnum):
    """What a projector is doing. `Projector.reason` says why, where that is not plain."""

    STARTING = "starting"
    LIVE = "live"  # applies the view
    BUILDING = "building"  # builds the view of this version beside the older one
    STANDBY = "standby"  # another process does
    RETRYING = "retrying"  # PostgreSQL or the log is out of reach
    STOPPED = "stopped"  # it will not go on by itself


class Projector:
    """Applies one view in whichever process holds the view's lock; in the others it follows its position.

    `run()` until cancelled: it takes no other stop, since an interrupted batch leaves nothing behind.

    - `batch_size`: at most so many events in a transaction.
    - `ignored_interval`: seconds between two writes of the checkpoint over events that the view ignores.
    - `standby_interval`: seconds between two looks whether the lock is free.
    - `silence`: seconds after which a process that keeps the lock and has gone silent loses it.
    - `on_batch`: called with every batch that was applied here; it must not raise.
    """

    def __init__(
        self,
        view: View,
        pool: Pool,
        log: EventLog,
        tail: Tail,
        *,
        batch_size: int = 2000,
        ignored_interval: float = 1.0,
        standby_interval: float = 1.0,
        silence: float = SILENCE_S,
        on_batch: OnBatch | None = None,
    ) -> None:
        self.view = view
        self.state = ProjectorState.STARTING
        self.reason: str | None = None
        self.parked = 0  # events parked in the view, as far as this process has looked
        self._pool, self._eventlog, self._tail = pool, log, tail
        self._batch_size, self._silence = batch_size, silence
        self._ignored_interval, self._standby_interval = ignored_interval, standby_interval
        self._on_batch = on_batch
        self._reached = Reached()
        self.stored = 0
        """The checkpoint as it was last seen: PostgreSQL has lost commits where it is before that."""

    @property
    def position(self) -> int:
        """The view holds everything up to this position of the log: what a read reports as `as_of`."""
        return self._reached.position

    @property
    def lag(self) -> int:
        """How many positions the view is behind what has arrived in this process."""
        return max(0, self._tail.position - self.position)

    async def wait_for(self, position: int, timeout: float) -> bool:
        """Wait until the view holds `position`, at most `timeout` seconds; False when it does not."""
        return await self._reached.wait_for(position, timeout)

    async def run(self) -> None:
        """Keep the view until cancelled. Tries again for ever when PostgreSQL or the log is gone.

        Raises `LogLostTail` when the log ends before the view does: no retry changes that.
        """
        retry = FIRST_RETRY
        self._change(ProjectorState.STARTING)
        while True:
            before = self.position
            try:
                async with connect(self._pool, self.view.name) as connection:
                    await self._keep(connection)
            except PositionAhead as error:
                lost = LogLostTail(self.view.name, error.after, error.last)
                self._change(ProjectorState.STOPPED, str(lost))
                raise lost from error
            except (psycopg.Error, PoisonError, EventLogError, OSError) as error:
                retry = FIRST_RETRY if self.position != before else retry
                self._change(ProjectorState.RETRYING, f"{type(error).__name__}: {error}")
                await asyncio.sleep(retry)
                retry = min(2 * retry, LAST_RETRY)
            except LogLostTail as error:
                self._change(ProjectorState.STOPPED, str(error))
                raise

    async def _keep(self, connection: AsyncConnection[Any]) -> None:
        name, version = self.view.name, self.view.version
        while True:
            checkpoint = await self._open(connection)
            if self.state != ProjectorState.STOPPED:
                if checkpoint.version < version:
                    if await self._build(checkpoint):
                        continue
                elif checkpoint.version > version:
                    self._change(
                        ProjectorState.STANDBY,
                        f"a newer release has built version {checkpoint.version}, this one has {version}; "
                        f"to go back to it: rclaude-admin rebuild {name}",
                    )
                else:
                    async with holding(connection, view_lock(name), silence=self._silence) as held:
                        if held:
                            with suppress(CheckpointMoved):
                                await self._apply_tail(connection)
                            continue
                        self._change(ProjectorState.STANDBY)
            await self._stand_by(connection)

    async def _build(self, checkpoint: Checkpoint) -> bool:
        """Build this version beside the older one, which serves meanwhile. False when it could not be done here."""
        self._change(ProjectorState.BUILDING, f"the view is of version {checkpoint.version}")
        try:
            await rebuild(self.view, self._pool, self._eventlog)
        except RebuildInProgress:
            return False
        except ViewStopped as error:
            self._change(ProjectorState.STOPPED, error.reason)
            return False
        return True

    async def _open(self, connection: AsyncConnection[Any]) -> Checkpoint:
        """The checkpoint, in a schema that is made when missing; held against the end of the log."""
        checkpoint = await read_checkpoint(connection, self.view.name)
        if checkpoint is None:
            await create_schema(connection, self.view.name, self.view)
            return await self._open(connection)
        if not await is_isolated(connection, self.view.name, self.view):
            async with connection.transaction():
                await lock_schemas(connection)
                await isolate(connection, self.view.name, self.view)
        if checkpoint.position > self._tail.position:
            await check_reaches(self._eventlog, checkpoint.position)
        self.stored = checkpoint.position
        self._reached.reach(checkpoint.position)
        return checkpoint

    async def _stand_by(self, connection: AsyncConnection[Any]) -> None:
        """Follow the position of the process that applies the view, until it is time to try the lock again."""
        channel = sql.Identifier(self.view.name)
        await connection.execute(sql.SQL("LISTEN {}").format(channel))
        await self._open(connection)
        async for notification in connection.notifies(timeout=self._standby_interval):
            self.stored = int(notification.payload)
            self._reached.reach(self.stored)
        await connection.execute(sql.SQL("UNLISTEN {}").format(channel))  # a busy applier would hoard its own

    async def _apply_tail(self, connection: AsyncConnection[Any]) -> None:
        """Apply from the checkpoint on. Returns only when the view has to stop."""
        view, start = self.view, (await self._open(connection)).position
        applier = await Applier.at(view, connection, start)
        self.parked = applier.parked
        written = time.monotonic()
        self._change(ProjectorState.LIVE)
        async with Arrivals(self._tail.subscribe(after=start), self._batch_size, pace=view.pace) as arrivals:
            while applier.stop is None:
                due = self._silence / 3
                if applier.stored != applier.position or applier.parked:
                    due = min(due, max(0.0, written + self._ignored_interval - time.monotonic()))
                events = await arrivals.next(due)
                if events is None:
                    raise LogUnavailable("the tail was closed")
                stored = applier.stored
                if events:
                    began = time.time_ns()
                    letters = await applier.apply(events)
                    self._report(letters)
                    self.stored = applier.stored
                    self._reached.reach(applier.position)
                    if self._on_batch is not None:
                        self._on_batch(view, events, letters, began)
                else:
                    await connection.execute("SELECT 1")  # so as not to be taken for dead
                now = time.monotonic()
                if applier.stored == stored and now >= written + self._ignored_interval:
                    await applier.write_checkpoint()
                    if applier.parked:
                        await applier.look()
                    written = now
                elif applier.stored != stored:
                    written = now
                self.parked = applier.parked
        self._change(ProjectorState.STOPPED, applier.stop)
        await applier.write_checkpoint()

    def _report(self, letters: list[DeadLetter]) -> None:
        for letter in letters:
            with traces.about(letter.event):
                _log.error(
                    "event parked", view=self.view.name, recorded=repr(letter.event), reason=letter.reason
                )

    def _change(self, state: ProjectorState, reason: str | None = None) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            level = _log.info if reason is None else _log.warning
            level("projector", view=self.view.name, state=state.value, reason=reason, position=self.position)
