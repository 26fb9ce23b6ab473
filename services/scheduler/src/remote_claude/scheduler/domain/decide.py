"""What follows for a task: from its state, and its organisation's, to events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import assert_never

from remote_claude.contracts.periods import period_at
from remote_claude.contracts.runner import WORKER_LOST
from remote_claude.contracts.scheduler import (
    EXECUTIONS,
    Admission,
    Reservation,
    RunnerLost,
    SchedulerEvent,
    Settlement,
    TaskAdmitted,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.eventsourcing.events import timestamp
from remote_claude.scheduler.domain.quotas import settlement, within
from remote_claude.scheduler.domain.state import OrganisationQueue
from remote_claude.scheduler.domain.tasks import (
    Admitted,
    Assigned,
    Ended,
    LiveTask,
    Queued,
    Running,
    Submitted,
    due,
)

NOTHING: Mapping[str, int] = {}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When it is decided, and on what: `position` is the last event that was taken into account."""

    now: datetime
    position: int

    @cached_property
    def occurred_at(self) -> str:
        """As events say it."""
        return timestamp(self.now)


def decide(
    task: LiveTask,
    organisation: OrganisationQueue,
    reserved: int,
    moment: Moment,
    taken: Mapping[str, int] = NOTHING,
) -> list[SchedulerEvent]:
    """What follows for one task, nothing if nothing is due.

    `reserved` executions of the current period are used or reserved, and `taken` of its other quotas, by meter."""
    id = {"task": task.submission.task, "org": task.submission.org}
    match task:
        case Submitted(cancellation=None):
            return [within(admit(task, organisation, reserved, moment), task, organisation, taken)]
        case Submitted():
            return [TaskCancelled(**id)]
        case Queued() if due(task):
            return [TaskCancelled(**id, settlements=settlements(task))]
        case Assigned() if due(task):
            return [TaskCancelled(**id, attempt=task.attempt, settlements=settlements(task))]
        case Queued() | Assigned() | Running():
            return []
        case Ended():
            return conclude(task)
    assert_never(task)


def admit(
    task: Submitted, organisation: OrganisationQueue, reserved: int, moment: Moment
) -> TaskAdmitted | TaskRejected:
    """Reserve an execution of the current period, or refuse with the reason."""
    id = {"task": task.submission.task, "org": task.submission.org}
    if organisation.suspended is not None:
        detail = (
            f"The operator has suspended the organisation: {organisation.suspended}. Contact the operator."
        )
        return TaskRejected(**id, code="org_suspended", detail=detail)
    if organisation.entitlements is None:
        detail = (
            "The organisation has no plan yet. An administrator sets one: rclaude-admin plan set ORG PLAN"
        )
        return TaskRejected(**id, code="no_plan", detail=detail)
    period = period_at(organisation.anchor, moment.now)
    allowed = organisation.entitlements.executions_per_month
    if allowed is not None and reserved >= allowed and not organisation.entitlements.overage:
        detail = (
            f"The plan {organisation.plan} allows {allowed} executions a month, and all of {period.id} are used "
            f"or reserved. The next month begins on {period.ends_at[:10]} (UTC). "
            f"{organisation.upgrade or 'A larger plan helps at once: your operator sets it.'}"
        )
        return TaskRejected(**id, code="quota_exceeded", detail=detail)
    return TaskAdmitted(**id, admission=one_execution(period.id, organisation.plan_version))


@lru_cache(maxsize=1024)
def one_execution(period: str, plan_version: str) -> Admission:
    """The admission of a task: one execution of the period."""
    execution = Reservation(meter=EXECUTIONS, quantity=1, kind="hard")
    return Admission(period=period, plan_version=plan_version, reservations=(execution,))


def settlements(task: Admitted) -> tuple[Settlement, ...]:
    """How the task's reservations end: used if any attempt has started, free again otherwise."""
    return tuple(
        settlement(task, r)
        if r.meter != EXECUTIONS
        else Settlement(meter=r.meter, settled=r.quantity, released=0)
        if task.executed
        else Settlement(meter=r.meter, settled=0, released=r.quantity)
        for r in task.admission.reservations
    )


def conclude(task: Ended) -> list[SchedulerEvent]:
    """What the end of an attempt means for its task. Only a lost one is tried again; one that was
    given back or declined costs no retry."""
    id = {"task": task.submission.task, "org": task.submission.org}
    last = {"attempt": task.attempt, "settlements": settlements(task)}
    match task.outcome:
        case "succeeded":
            return [TaskSucceeded(**id, **last)]
        case "failed":
            reason = task.reason or "agent_failed"
            return [TaskFailed(**id, **last, reason=reason, exit_code=task.exit_code)]
        case "cancelled":
            return [TaskCancelled(**id, **last)]
        case "timed_out":
            return [TaskTimedOut(**id, **last)]
        case "declined":
            if task.cancellation:
                return [TaskCancelled(**id, **last)]
            return [TaskRequeued(**id, attempt=task.attempt + 1, reason="declined")]
        case "lost" | "given_back":
            reason = task.reason or task.outcome
            lost = RunnerLost(
                **id, attempt=task.attempt, runner=task.runner, reason=reason, charge=reason == WORKER_LOST
            )
            if task.cancellation:
                return [lost, TaskCancelled(**id, **last)]
            if task.outcome == "lost" and task.lost + 1 >= task.submission.max_attempts:
                return [lost, TaskFailed(**id, **last, reason="attempts_exhausted")]
            return [lost, TaskRequeued(**id, attempt=task.attempt + 1, reason=reason)]
    assert_never(task.outcome)
