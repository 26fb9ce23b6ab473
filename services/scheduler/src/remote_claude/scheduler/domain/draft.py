"""The next append of an organisation: all that is due for it, then what its tasks are assigned to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice

from remote_claude.contracts.periods import period_at
from remote_claude.contracts.scheduler import (
    Limits,
    SchedulerEvent,
    TaskAdmitted,
    TaskAssigned,
    TerminalEvent,
)
from remote_claude.eventsourcing.events import NewEvent, caused_id, timestamp
from remote_claude.eventsourcing.traces import of_event
from remote_claude.scheduler.domain.decide import Moment, decide
from remote_claude.scheduler.domain.evolve import decided
from remote_claude.scheduler.domain.queue import Queue, QueueHeads
from remote_claude.scheduler.domain.state import OrganisationQueue, Runner, executions
from remote_claude.scheduler.domain.tasks import Assigned, Cause, Ended, LiveTask, Queued, Running, due

MAX_DUE = 200
"""Causes decided in one draft, and as many expired attempts; each says two events at most."""
MAX_EVENTS = 900
"""Of one draft, assignments included: within what the log takes in one batch."""


@dataclass(slots=True)
class Draft:
    """Decisions about one organisation, each on top of the ones before. The organisation stays as the log has it."""

    organisation: OrganisationQueue
    moment: Moment
    runners: list[str] = field(default_factory=list)
    """One for every slot that is promised."""
    queued: Queue = field(default_factory=Queue)
    """What has come into the queue here."""
    expected: int = field(init=False)
    """The guard: where the organisation was when this was decided. By the time it is sent it may have moved on."""
    reserved: int = field(init=False)
    taken: dict[str, int] = field(init=False)
    """The other quotas: what is used or reserved, by meter."""
    attempts: int = field(init=False)
    _events: dict[str, NewEvent] = field(default_factory=dict)
    """By event id, in the order of the append."""
    _period: str = field(init=False)
    _heads: QueueHeads | None = None

    def __post_init__(self) -> None:
        self.expected = self.organisation.position
        self._period = period_at(self.organisation.anchor, self.moment.now).id
        self.reserved = self.organisation.reserved.get(self._period, 0)
        self.taken = self.organisation.taken(self._period)
        self.attempts = self.organisation.attempts

    def settle(self, task: LiveTask) -> None:
        """Decide what is due for a task."""
        after: LiveTask | None = task
        cause, handler = _cause(task)
        decisions = decide(task, self.organisation, self.reserved, self.moment, self.taken)
        for n, event in enumerate(decisions):
            new = self._record(event, caused_id(cause.event_id, handler, n), cause)
            after = decided(after, event, Cause(new.event_id, 0, new.traceparent))
            match event, task:
                case TaskAdmitted(admission=admission), _:
                    self.reserved += executions(admission)
                    for r in admission.reservations:
                        self.taken[r.meter] = self.taken.get(r.meter, 0) + r.quantity
                # Only what was never assigned can't be starting meanwhile.
                case TerminalEvent(), Queued(attempt=1) if task.admission.period == self._period:
                    self.reserved -= executions(task.admission)
                case _:
                    pass
        if isinstance(self.organisation.tasks[task.submission.task], Assigned | Running):
            self.attempts -= 1
        if isinstance(after, Queued):
            self.queued.add(after)

    @property
    def events(self) -> list[NewEvent]:
        """What is to be appended, in order."""
        return list(self._events.values())

    @property
    def has_capacity(self) -> bool:
        """Whether the organisation may have one more slot."""
        entitlements = self.organisation.entitlements
        if entitlements is None or len(self._events) >= MAX_EVENTS:
            return False
        return entitlements.concurrency is None or self.attempts < entitlements.concurrency

    @property
    def heads(self) -> QueueHeads:
        """The next task for each agent. From the first look on nothing more may be settled."""
        if self._heads is None:
            self._heads = QueueHeads(self.organisation.waiting, self.queued)
        return self._heads

    def assign(self, task: Queued, runner: Runner, lease_s: int) -> None:
        """Give a waiting task to a runner. If it is admitted in this draft, its assignment carries the admission."""
        submission, plan = task.submission, self.organisation.entitlements
        assert plan is not None
        duration = min(plan.duration_s, submission.timeout_s or plan.duration_s)
        entered = self._events.get(task.entered.event_id)
        at_once = entered is not None and isinstance(entered.event, TaskAdmitted)
        if at_once:
            del self._events[task.entered.event_id]
        cause = submission.by if at_once else task.entered
        event = TaskAssigned(
            task=submission.task,
            org=submission.org,
            attempt=task.attempt,
            runner=runner.id,
            provider=runner.provider,
            pool=runner.pool,
            image=submission.image,
            agent=submission.needs.agent,
            limits=Limits(vcpu_millis=plan.vcpu_millis, memory_mib=plan.memory_mib, duration_s=duration),
            deadline=timestamp(self.moment.now + timedelta(seconds=duration)),
            lease_s=lease_s,
            admission=task.admission if at_once else None,
        )
        self._record(event, caused_id(cause.event_id, f"scheduler/{submission.task}/assign"), cause)
        self.attempts += 1
        self.runners.append(runner.id)

    def _record(self, event: SchedulerEvent, id: str, cause: Cause) -> NewEvent:
        new = NewEvent(
            event=event,
            event_id=id,
            occurred_at=self.moment.occurred_at,
            subject=event.task,
            correlation_id=event.task,
            causation_id=cause.event_id,
            cause=self.moment.position,
            traceparent=of_event(cause.traceparent, id),
        )
        self._events[id] = new
        return new


def draft(organisation: OrganisationQueue, moment: Moment, expired: Sequence[Ended] = ()) -> Draft:
    """Decide what is due for an organisation: attempts that its leader found `expired`, then causes in log order."""
    result = Draft(organisation, moment)
    for ended in {ended.submission.task: ended for ended in expired[:MAX_DUE]}.values():
        current = organisation.tasks.get(ended.submission.task)
        if isinstance(current, Assigned | Running) and current.attempt == ended.attempt and not due(current):
            result.settle(replace(ended, executed=current.executed))
    for task in islice(organisation.due, MAX_DUE):
        result.settle(organisation.tasks[task])
    return result


def _cause(task: LiveTask) -> tuple[Cause, str]:
    """Why something is due for a task, and the name under which event ids follow from it."""
    if isinstance(task, Ended):
        return task.cause, f"scheduler/{task.submission.task}/{task.outcome}"
    return (
        task.cancellation or task.submission.by,
        f"scheduler/{task.submission.task}/{type(task).__name__.lower()}",
    )
