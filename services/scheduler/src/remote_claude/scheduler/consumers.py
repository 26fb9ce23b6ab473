"""Reads the log: the scheduler's state, folded from it for as long as the process runs, with a snapshot from time to time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress

import psycopg
import structlog

from remote_claude.contracts import UndecodableEvent
from remote_claude.contracts.runner import AssignmentDeclined, RunnerJoined
from remote_claude.eventsourcing import traces
from remote_claude.eventsourcing.events import Clock, RecordedEvent, parse_timestamp
from remote_claude.eventsourcing.log import EventLog, PositionAhead, check_reaches
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.broker.uses import Use
from remote_claude.scheduler.domain.evolve import FOLDS, evolve, pass_over
from remote_claude.scheduler.domain.known_leases import Leases
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.handlers import Monotonic
from remote_claude.scheduler.projections.snapshots import Snapshots
from remote_claude.scheduler.settings import SchedulerSettings

log = structlog.get_logger(__name__)

READS = frozenset(FOLDS)
"""The events that the scheduler reads."""

USES: frozenset[Use] = frozenset({Use.ANSWER_LEASES, Use.ANSWER_WHY_TASKS_WAIT})
"""What the scheduler uses of the broker besides the log."""

ABOUT_RUNNERS = frozenset((RunnerJoined.type, AssignmentDeclined.type))

SILENCE_S = 10.0
"""A log that has shown nothing, not even a heartbeat, for so long can't be decided on."""
SNAPSHOT_S = 10.0
"""How long PostgreSQL has to store a snapshot."""


class LogFold:
    """`state` is the log's, up to `state.position`. `unreadable` counts the events that were passed over."""

    def __init__(
        self,
        event_log: EventLog,
        tail: Tail,
        clock: Clock,
        settings: SchedulerSettings,
        snapshots: Snapshots,
        leases: Leases,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._log, self._tail, self._clock, self._settings = event_log, tail, clock, settings
        self._snapshots, self._leases, self._monotonic = snapshots, leases, monotonic
        self._moved = asyncio.Event()
        self._saved = 0
        self._head: int | None = None
        self.state = SchedulerState()
        self.unreadable = 0

    async def restore(self) -> None:
        """Begin with the last snapshot, if it is of this log."""
        self.state = await self._restored()
        self._saved = self.state.position
        self._head = await self._log.last_position()

    async def follow(self, on_batch: Callable[[], None]) -> None:
        """Fold what the log has, for ever; `on_batch` is called after each batch."""
        try:
            async with aclosing(self._tail.subscribe(after=self.state.position)) as batches:
                async for batch in batches:
                    self._fold(batch)
                    on_batch()
        finally:
            self._head = None

    async def reached(self, position: int) -> None:
        """Wait until the state is at least as of `position`."""
        while self.state.position < position:
            await self._moved.wait()

    async def reached_end(self) -> None:
        """The same for what the log has now."""
        await self.reached(await self._log.last_position())

    def unready(self) -> str | None:
        """Why nothing can be decided on this state, if that is so."""
        if self._head is None:
            return "the scheduler does not read the log"
        if self.state.position < self._head:
            return f"the scheduler has read the log to {self.state.position} of {self._head}"
        if self._tail.age > SILENCE_S:
            return f"the log has shown nothing, not even a heartbeat, for {self._tail.age:.0f} s"
        return None

    async def save_regularly(self, leads: Callable[[], bool]) -> None:
        """Store a snapshot when there is enough that is new, while this process leads."""
        settings, last = self._settings, self._monotonic()
        while True:
            await asyncio.sleep(settings.tick_s)
            new = self.state.position - self._saved
            if not leads() or not new:
                continue
            if new >= settings.snapshot_events or self._monotonic() - last >= settings.snapshot_interval_s:
                await self.save()
                last = self._monotonic()

    async def save(self) -> None:
        """Store a snapshot, if the state has moved since the last one. A failure is logged."""
        position = self.state.position
        if position <= self._saved:
            return
        try:
            async with asyncio.timeout(SNAPSHOT_S):
                await self._snapshots.save(self.state)
            self._saved = position
        except (psycopg.Error, TimeoutError) as error:
            log.warning("no snapshot could be stored", error=repr(error))

    async def _restored(self) -> SchedulerState:
        """The state of the last snapshot if it is of this log, otherwise an empty one."""
        state = await self._snapshots.load()
        if state is None or state.position == 0:
            return SchedulerState()
        with suppress(PositionAhead):
            await check_reaches(self._log, state.position)
            async with aclosing(self._log.read(after=state.position - 1, until=state.position)) as batches:
                async for batch in batches:
                    if batch[-1].event_id == state.event_id:
                        return state
        log.warning(
            "the snapshot is of another log, or the log has lost its end: reading it from the beginning",
            position=state.position,
        )
        await self._snapshots.discard()
        return SchedulerState()

    def _fold(self, batch: Sequence[RecordedEvent]) -> None:
        for recorded in batch:
            try:
                evolve(self.state, recorded)
            except UndecodableEvent as error:
                traces.log_skipped(log, recorded, error)
                self.unreadable += 1
                pass_over(self.state, recorded)
            else:
                if recorded.type in ABOUT_RUNNERS:
                    self._note_runner(recorded)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _note_runner(self, recorded: RecordedEvent) -> None:
        """A runner that has just joined is available; one that declined gets no work for a moment."""
        event = recorded.event
        if isinstance(event, RunnerJoined):
            age = (self._clock() - parse_timestamp(recorded.occurred_at)).total_seconds()
            self._leases.mark_seen(event.runner, self._monotonic() - max(0.0, age))
        elif isinstance(event, AssignmentDeclined):
            self._leases.pause(event.runner, self._monotonic() + self._settings.decline_pause_s)
