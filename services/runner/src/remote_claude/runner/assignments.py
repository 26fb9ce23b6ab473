"""Takes assignments off the log and sees each one to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

import structlog

from remote_claude.contracts import UndecodableEvent
from remote_claude.contracts.gateway import PermissionAnswered, TaskCancellationRequested, TaskMessageSent
from remote_claude.contracts.leases import HeldAttempt
from remote_claude.contracts.runner import RUNNER_RESTARTED, RunnerDrained, RunnerJoined, RunnerUndrained
from remote_claude.contracts.scheduler import (
    RunnerLost,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.eventsourcing import CommandHandler, Decider, traces
from remote_claude.eventsourcing.events import (
    Clock,
    NewEventId,
    RecordedEvent,
    new_event_id,
    stream_id,
    timestamp,
)
from remote_claude.eventsourcing.log import EventLog, EventLogError
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runner.consumers import INTERRUPTING
from remote_claude.runner.domain.attempt import AttemptId, Decline, Finish, RunningAttempt
from remote_claude.runner.handlers import AttemptLog, Superseded
from remote_claude.runner.projections.held import AssignedAttempt
from remote_claude.runner.stopping import StopReason

log = structlog.get_logger(__name__)

DRAINS_WITHIN_S = 5.0
"""How long recording the end may take; without it the leases show it."""

Terminal = TaskSucceeded | TaskFailed | TaskCancelled | TaskTimedOut


class AttemptExecution(Protocol):
    """One attempt in progress."""

    def stop(self, reason: StopReason) -> None:
        """End it; the first reason counts."""

    def message(self, event: TaskMessageSent | PermissionAnswered) -> None:
        """A person's message to the task, or answer to its agent; the same one may come again."""

    async def run(self) -> None:
        """From the assignment to the last event."""


PresenceEvent = RunnerJoined | RunnerDrained | RunnerUndrained


class Presence(Decider[PresenceEvent, None]):
    """A runner's coming and going. It depends on nothing that the runner recorded before, which may be unreadable."""

    def fold(self, history: Sequence[RecordedEvent]) -> None:
        return None


PRESENCE = Presence(None, lambda event, _: [event], lambda state, _: state)


class Executor:
    """The attempts of one runner."""

    def __init__(
        self,
        log: EventLog,
        tail: Tail,
        clock: Clock,
        runner: str,
        *,
        joined: Callable[[], RunnerJoined],
        slots: int,
        execute: Callable[[TaskAssigned, AttemptLog], AttemptExecution],
        held: Callable[[int], Awaitable[Sequence[AssignedAttempt]]],
        event_id: NewEventId = new_event_id,
    ) -> None:
        """`held` gives the attempts that this runner has been assigned and has not ended, as of a position or later."""
        self.runner = runner
        self._log, self._tail, self._clock = log, tail, clock
        self._handler = CommandHandler(log, clock, event_id)
        self._joined, self._slots, self._execute, self._held = joined, slots, execute, held
        self._running: dict[tuple[str, str, int], AttemptExecution] = {}
        self._work: set[asyncio.Task[None]] = set()
        self.joined = False

    @property
    def held(self) -> tuple[HeldAttempt, ...]:
        """Every attempt that is being executed."""
        return tuple(HeldAttempt(org=o, task=t, attempt=a) for o, t, a in self._running)

    async def run(self) -> None:
        """Give back what an earlier process of this runner held, join, take what is assigned; never ends by itself."""
        await self.end_all()  # after a failed read of the log, that was this process
        await self._give_back(await self._log.last_position())
        position = await self.join()
        self.joined = True
        async for batch in self._tail.subscribe(after=position):
            self._take(batch)

    async def join(self) -> int:
        """Record that this runner takes work. What it was assigned before the position returned, it is taken to have lost."""
        return await self._record(self._joined())

    async def drain(self) -> None:
        """Record that this runner takes no more work; returns once what runs has come to its end."""
        await self._record(RunnerDrained(runner=self.runner))
        while self._work:
            await asyncio.wait(self._work)

    async def _record(self, event: RunnerJoined | RunnerDrained) -> int:
        stream = stream_id("runner", None, "runner", self.runner)
        return (await self._handler.handle(PRESENCE, stream, event)).position

    def stop(self, attempt: HeldAttempt, reason: StopReason) -> None:
        """End one attempt, if it runs here."""
        if (execution := self._running.get((attempt.org, attempt.task, attempt.attempt))) is not None:
            execution.stop(reason)

    def stop_all(self, reason: StopReason) -> None:
        """End everything."""
        for execution in list(self._running.values()):
            execution.stop(reason)

    async def close(self) -> None:
        """The process ends: take no more work, and give back what runs, so that it goes on elsewhere at once."""
        try:
            if self.joined:
                self.joined = False
                async with asyncio.timeout(DRAINS_WITHIN_S):
                    await self._record(RunnerDrained(runner=self.runner))
        except (EventLogError, TimeoutError) as error:
            log.warning("the end of this runner could not be recorded", error=repr(error))
        await self.end_all()

    async def end_all(self) -> None:
        """Take no more work, and give back what runs."""
        self.joined = False
        self.stop_all("lost")
        await asyncio.gather(*self._work, return_exceptions=True)

    async def _give_back(self, position: int) -> None:
        """Attempts assigned to this runner before it started: their sandboxes died with the process that ran them."""
        for attempt in await self._held(position):
            id = AttemptId(attempt.org, attempt.task, attempt.attempt, self.runner)
            attempt_log = AttemptLog(self._log, self._clock, id, attempt.cause, attempt.traceparent)
            try:
                await _record_lost(attempt_log)
            except UndecodableEvent as error:
                log.error("an attempt can't be read: joining gives it back", attempt=id, detail=str(error))

    def _take(self, batch: Sequence[RecordedEvent]) -> None:
        """Begin and stop attempts. The scheduler too passes over what can't be read; leases end what follows from it."""
        for recorded in batch:
            try:
                if recorded.type == TaskAssigned.type:
                    if recorded.event.runner == self.runner:
                        self._begin(recorded)
                elif self._running and recorded.type in INTERRUPTING:
                    self._interrupt(recorded.event)
            except UndecodableEvent as error:
                traces.log_skipped(log, recorded, error)

    def _begin(self, recorded: RecordedEvent) -> None:
        assigned: TaskAssigned = recorded.event
        key = (assigned.org, assigned.task, assigned.attempt)
        id = AttemptId(*key, self.runner)
        attempt_log = AttemptLog(self._log, self._clock, id, recorded.event_id, recorded.traceparent)
        if assigned.agent == "noop":
            work = _noop(attempt_log, timestamp(self._clock()))
        elif len(self._running) >= self._slots:
            work = _decline(attempt_log)
        else:
            execution = self._running[key] = self._execute(assigned, attempt_log)
            work = self._run_to_end(key, execution)
        with traces.about(recorded):  # the task that is started here keeps that
            self._spawn(work)

    async def _run_to_end(self, key: tuple[str, str, int], execution: AttemptExecution) -> None:
        try:
            await execution.run()
        finally:
            del self._running[key]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an attempt was left to its lease", exc_info=error)

    def _interrupt(
        self,
        event: TaskCancellationRequested | TaskMessageSent | PermissionAnswered | RunnerLost | Terminal,
    ) -> None:
        for (org, task, attempt), execution in list(self._running.items()):
            if (org, task) != (event.org, event.task):
                continue
            match event:
                case TaskCancellationRequested():
                    execution.stop("cancelled")
                case TaskMessageSent() | PermissionAnswered():
                    execution.message(event)
                case RunnerLost() if event.attempt != attempt:
                    pass
                case _:
                    execution.stop("revoked")


async def _record_lost(attempt_log: AttemptLog) -> None:
    while True:
        await attempt_log.load()
        lost = Finish(outcome="lost", reason=RUNNER_RESTARTED)
        command = lost if isinstance(attempt_log.state, RunningAttempt) else Decline(RUNNER_RESTARTED)
        try:
            await attempt_log.record(command)
        except Superseded:
            continue  # what the earlier process had sent has only now arrived
        return


async def _noop(attempt_log: AttemptLog, now: str) -> None:
    await attempt_log.record(Finish(outcome="succeeded", started_at=now, exit_code=0))


async def _decline(attempt_log: AttemptLog) -> None:
    await attempt_log.record(Decline("no_free_slot"))
