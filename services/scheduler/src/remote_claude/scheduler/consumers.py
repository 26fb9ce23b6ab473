"""What the scheduler hears: the log, through the shared tail, and the runners' renewals of their leases."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Any

import psycopg
import structlog

from remote_claude.concurrency import tasks
from remote_claude.contracts import UndecodableEvent
from remote_claude.contracts.leases import HeldAttempt, LeaseAnswer, LeaseRequest
from remote_claude.contracts.runner import AssignmentDeclined, RunnerJoined
from remote_claude.contracts.waiting import WaitingAnswer, WaitingRequest
from remote_claude.eventsourcing import traces
from remote_claude.eventsourcing.events import Clock, RecordedEvent, parse_timestamp
from remote_claude.eventsourcing.log import (
    ConcurrencyConflict,
    EventLog,
    LogUnavailable,
    PositionAhead,
    check_reaches,
)
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.broker.uses import Use
from remote_claude.scheduler.domain.evolve import FOLDS, evolve, pass_over
from remote_claude.scheduler.domain.leases import Leases
from remote_claude.scheduler.domain.state import State
from remote_claude.scheduler.domain.tasks import Attempted, Ended, end
from remote_claude.scheduler.domain.waiting import explain, too_large
from remote_claude.scheduler.handlers import Leader, Monotonic
from remote_claude.scheduler.leadership import Election, LeadershipLost, Watch
from remote_claude.scheduler.projections.snapshots import Snapshots
from remote_claude.scheduler.settings import SchedulerSettings

log = structlog.get_logger(__name__)

READS = frozenset(FOLDS)
"""The events that the scheduler reads."""

USES: frozenset[Use] = frozenset({Use.ANSWER_LEASES, Use.ANSWER_WHY_TASKS_WAIT})
"""What the scheduler uses of the broker besides the log."""

SILENCE_S = 10.0
"""A log that has given no sign of life for so long can't be decided on."""
AFTER_A_TERM_S = 0.2
"""How long one that has stood down leaves the others the lock."""
LEADS_AGAIN_S = 2.0
"""One that leads again so soon after it stood down was not replaced in between."""
SNAPSHOT_S = 10.0
"""How long PostgreSQL has to keep a snapshot."""


class Scheduler:
    """Folds the log for as long as it runs, and decides while it leads."""

    def __init__(
        self,
        event_log: EventLog,
        tail: Tail,
        clock: Clock,
        settings: SchedulerSettings,
        election: Election,
        snapshots: Snapshots,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._log, self._tail, self._clock, self._settings = event_log, tail, clock, settings
        self._election, self._snapshots, self._monotonic = election, snapshots, monotonic
        self._moved = asyncio.Event()
        self._leases = Leases(settings.lease_s, settings.lease_s + settings.grace_s, self._monotonic())
        self._saved = 0
        self._yielded = float("-inf")
        """When this process last stood down because it heard no runner."""
        self._head: int | None = None
        self.state = State()
        self.leader: Leader | None = None
        self.decided: Counter[str] = Counter()
        self.unreadable = 0

    async def run(self) -> None:
        """Read up to the log's end, then stand by or lead; never ends by itself."""
        self.state = await self._restored()
        self._saved = self.state.position
        self._head = await self._log.last_position()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self._lead())
                group.create_task(self._save_regularly())
        finally:
            self._head = None

    async def stop(self) -> None:
        """Leave a snapshot, so that the next start is short."""
        if self.state.position > self._saved:
            await self._save()

    async def renew(self, request: LeaseRequest) -> LeaseAnswer | None:
        """Answer a runner; None while this process does not lead, or can't know what the log says."""
        self._leases.renew(request, self._monotonic())
        leader = self.leader
        if leader is None:
            return None
        answer = self._answer(request)
        if not answer.known or answer.revoked:  # it may have read further in the log than is folded here
            try:
                await self.reached(await self._log.last_position())
            except LogUnavailable:
                return None
            if self.leader is not leader:
                return None
            answer = self._answer(request)
        leader.wake()
        return answer

    async def explain(self, request: WaitingRequest) -> WaitingAnswer | None:
        """Why tasks wait; None while this process does not lead."""
        if self.leader is None:
            return None
        organisation = self.state.organisations.get(request.org)
        if organisation is None:
            return WaitingAnswer()
        now = self._monotonic()
        heard = {id for id in self.state.runners if self._leases.seen(id, now)}
        return WaitingAnswer(waiting=tuple(explain(organisation, request.tasks, self.state.runners, heard)))

    async def reached(self, position: int) -> None:
        """Wait until the state is at least as of `position`."""
        while self.state.position < position:
            await self._moved.wait()

    def ready(self) -> str | None:
        """Why nothing can be decided, if that is so."""
        if self._head is None:
            return "the scheduler does not read the log"
        if self.state.position < self._head:
            return f"the scheduler has read the log to {self.state.position} of {self._head}"
        if self._tail.age > SILENCE_S:
            return f"the log has given no sign of life for {self._tail.age:.0f} s"
        return self._election.problem if self.leader is None else None

    def status(self) -> dict[str, Any]:
        """What an operator wants to see."""
        organisations, runners = self.state.organisations.values(), self.state.runners.values()
        now = self._monotonic()
        return {
            "leader": self.leader is not None,
            "position": self.state.position,
            "queued": sum(len(o.waiting) for o in organisations),
            "running": sum(o.attempts for o in organisations),
            "runners": sum(r.joined and self._leases.available(r.id, now) for r in runners),
            "unreadable_events": self.unreadable,
            "plans_without_runner": [
                {"plan": plan, "detail": detail} for plan, detail in too_large(self.state)
            ],
        }

    async def _restored(self) -> State:
        """The state of the last snapshot if it is of this log, else an empty one."""
        state = await self._snapshots.load()
        if state is None or state.position == 0:
            return State()
        with suppress(PositionAhead):
            await check_reaches(self._log, state.position)
            async with aclosing(self._log.read(after=state.position - 1, until=state.position)) as batches:
                async for batch in batches:
                    if batch[-1].event_id == state.event_id:
                        return state
        log.warning(
            "the snapshot is of another log, or the log has lost its end: reading it anew",
            position=state.position,
        )
        await self._snapshots.discard()
        return State()

    async def _follow(self) -> None:
        async with aclosing(self._tail.subscribe(after=self.state.position)) as batches:
            async for batch in batches:
                self._fold(batch)

    def _fold(self, batch: Sequence[RecordedEvent]) -> None:
        for recorded in batch:
            try:
                evolve(self.state, recorded)
            except UndecodableEvent as error:
                traces.tell_passed_over(log, recorded, error)
                self.unreadable += 1
                pass_over(self.state, recorded)
            else:
                if recorded.type in ABOUT_RUNNERS:
                    self._note_runner(recorded)
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
        if self.leader is not None:
            self.leader.folded()

    def _note_runner(self, recorded: RecordedEvent) -> None:
        """A runner that joined a moment ago is there; one that declined is left alone for a moment."""
        event = recorded.event
        if isinstance(event, RunnerJoined):
            age = (self._clock() - parse_timestamp(recorded.occurred_at)).total_seconds()
            self._leases.mark_seen(event.runner, self._monotonic() - max(0.0, age))
        elif isinstance(event, AssignmentDeclined):
            self._leases.pause(event.runner, self._monotonic() + self._settings.decline_pause_s)

    async def _lead(self) -> None:
        while True:
            async with self._election.term() as watch:
                term = asyncio.create_task(self._term(watch))
                try:  # beside it, since a group that fails as it is cancelled keeps the failure only
                    await asyncio.wait((term,))
                    term.result()
                finally:
                    await tasks.end(term)
            await asyncio.sleep(AFTER_A_TERM_S)

    async def _term(self, watch: Watch) -> None:
        """Lead until another one does."""
        try:
            async with asyncio.TaskGroup() as term:
                term.create_task(_until_lost(watch))
                await self.reached(await self._log.last_position())
                if (
                    self._monotonic() - self._yielded > LEADS_AGAIN_S
                ):  # otherwise no other process wanted to lead
                    self._leases.begin(self._monotonic())
                self.leader = leader = Leader(
                    self._log,
                    self.state,
                    self._leases,
                    self._clock,
                    self._settings.lease_s,
                    self.decided,
                    self._monotonic,
                )
                log.info("leading", position=self.state.position)
                term.create_task(leader.run())
                term.create_task(self._look_after(leader))
        except* (ConcurrencyConflict, LeadershipLost) as over:
            log.warning("standing down", reasons=[str(error) for error in _leaves(over)])
        finally:
            self.leader = None

    async def _look_after(self, leader: Leader) -> None:
        """Find the attempts that nobody keeps, those whose time is long up, and runners that are gone for good."""
        settings, leases = self._settings, self._leases
        while True:
            await asyncio.sleep(min(settings.tick_s, settings.lease_s / 4))
            now = self._monotonic()
            leases.look(now)
            if leases.unheard(self.state, now) and now - self._yielded > settings.lease_s:
                self._yielded = now
                raise NoRunnerHeard(
                    f"no runner has renewed its lease here for {settings.lease_s} s, though the log has "
                    "runners: another scheduler may hear them, or this one uses another broker account than they do"
                )
            leader.expire(
                end(attempt, "lost", attempt.assigned, reason=reason)
                for attempt, reason in leases.expired(self.state, now)
            )
            leader.expire(self._overdue())
            for runner in leases.silent(self.state, now, settings.forget_runner_s):
                self.state.forget(runner)
            leader.wake()

    def _overdue(self) -> Iterator[Ended]:
        patience = timedelta(seconds=self._settings.lease_s + self._settings.grace_s)
        ended_before = self._clock() - patience
        for attempt in self.state.occupying():
            if attempt.deadline < ended_before:
                yield end(attempt, "timed_out", attempt.assigned)

    def _answer(self, request: LeaseRequest) -> LeaseAnswer:
        runner = self.state.runners.get(request.runner)
        revoked = tuple(held for held in request.attempts if not self._holds(request.runner, held))
        return LeaseAnswer(known=runner is not None and runner.joined, revoked=revoked)

    def _holds(self, runner: str, held: HeldAttempt) -> bool:
        task = self.state.task(held.org, held.task)
        return isinstance(task, Attempted) and (task.attempt, task.runner) == (held.attempt, runner)

    async def _save_regularly(self) -> None:
        settings, last = self._settings, self._monotonic()
        while True:
            await asyncio.sleep(settings.tick_s)
            new = self.state.position - self._saved
            if self.leader is None or not new:
                continue
            if new >= settings.snapshot_events or self._monotonic() - last >= settings.snapshot_interval_s:
                await self._save()
                last = self._monotonic()

    async def _save(self) -> None:
        position = self.state.position
        try:
            async with asyncio.timeout(SNAPSHOT_S):
                await self._snapshots.save(self.state)
            self._saved = position
        except (psycopg.Error, TimeoutError) as error:
            log.warning("no snapshot could be kept", error=repr(error))


class NoRunnerHeard(LeadershipLost):
    """No runner renews its lease at this process, though the log says that some are there."""

    code = "no_runner_seen"


ABOUT_RUNNERS = frozenset((RunnerJoined.type, AssignmentDeclined.type))


async def _until_lost(watch: Watch) -> None:
    await watch()


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
