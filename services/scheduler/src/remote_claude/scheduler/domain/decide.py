"""What follows for a task: from its state, and its organisation's, to events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import assert_never

from remote_claude.contracts.scheduler import (
    RunnerLost,
    SchedulerEvent,
    TaskAdmitted,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.eventsourcing.events import timestamp
from remote_claude.scheduler.domain.state import Organisation
from remote_claude.scheduler.domain.tasks import Assigned, Ended, Queued, Running, Submitted, Task, due


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When it is decided, and on what: `position` is the last event that was taken into account."""

    now: datetime
    position: int

    @cached_property
    def occurred_at(self) -> str:
        """As events say it."""
        return timestamp(self.now)

    @cached_property
    def period(self) -> str:
        """The calendar month, UTC, as `YYYY-MM`."""
        return f"{self.now.year:04}-{self.now.month:02}"

    @property
    def next_period(self) -> str:
        """The day on which the next month begins."""
        return (self.now.replace(day=1) + timedelta(days=31)).replace(day=1).date().isoformat()


def decide(task: Task, organisation: Organisation, reserved: int, moment: Moment) -> list[SchedulerEvent]:
    """What follows for one task, nothing if nothing is due. `reserved` executions of this month are spoken for."""
    id = {"task": task.asked.task, "org": task.asked.org}
    match task:
        case Submitted(cancellation=None):
            return [admit(task, organisation, reserved, moment)]
        case Submitted():
            return [TaskCancelled(**id, executed=False)]
        case Queued() if due(task):
            return [TaskCancelled(**id, executed=task.executed)]
        case Assigned() if due(task):
            return [TaskCancelled(**id, attempt=task.attempt, executed=task.executed)]
        case Queued() | Assigned() | Running():
            return []
        case Ended():
            return conclude(task)
    assert_never(task)


def admit(
    task: Submitted, organisation: Organisation, reserved: int, moment: Moment
) -> TaskAdmitted | TaskRejected:
    """Reserve an execution of this month, or say why there is none."""
    id = {"task": task.asked.task, "org": task.asked.org}
    if organisation.entitlements is None:
        detail = (
            "The organisation has no plan yet. An administrator sets one: rclaude-admin plan set ORG PLAN"
        )
        return TaskRejected(**id, code="no_plan", detail=detail)
    allowed = organisation.entitlements.executions_per_month
    if allowed is not None and reserved >= allowed:
        detail = (
            f"The plan {organisation.plan} allows {allowed} executions a month, and all of {moment.period} are used "
            f"or reserved. The next month begins on {moment.next_period} (UTC); a larger plan helps at once."
        )
        return TaskRejected(**id, code="quota_exceeded", detail=detail)
    return TaskAdmitted(**id, period=moment.period)


def conclude(task: Ended) -> list[SchedulerEvent]:
    """What the end of an attempt means for its task. Only a lost one is tried again; one that was
    given back or declined costs no retry."""
    id = {"task": task.asked.task, "org": task.asked.org}
    last = {"attempt": task.attempt, "executed": task.executed}
    match task.outcome:
        case "succeeded":
            return [TaskSucceeded(**id, **last)]
        case "failed":
            return [TaskFailed(**id, **last, reason=task.reason or "agent_failed", exit_code=task.exit_code)]
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
            lost = RunnerLost(**id, attempt=task.attempt, runner=task.runner, reason=reason)
            if task.cancellation:
                return [lost, TaskCancelled(**id, **last)]
            if task.outcome == "lost" and task.lost + 1 >= task.asked.max_attempts:
                return [lost, TaskFailed(**id, **last, reason="attempts_exhausted")]
            return [lost, TaskRequeued(**id, attempt=task.attempt + 1, reason=reason)]
    assert_never(task.outcome)
