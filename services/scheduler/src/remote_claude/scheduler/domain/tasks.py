"""The lifecycle of a task, as a union of state types; a task that has ended is dropped."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVar

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import CAPABILITIES
from remote_claude.contracts.scheduler import Admission

Outcome = Literal["succeeded", "failed", "cancelled", "timed_out", "lost", "given_back", "declined"]


class Cause(NamedTuple):
    """The event that something follows from, its place in the log, and the trace that it belongs to."""

    event_id: str
    position: int
    traceparent: str | None = None


class Needs(NamedTuple):
    """What a runner must offer to run a task. `provider` is None when any will do."""

    agent: str
    provider: str | None = None
    capabilities: tuple[str, ...] = ()

    @classmethod
    def of(cls, submitted: TaskSubmitted) -> Needs:
        submission = tuple(name for name in CAPABILITIES if getattr(submitted, ASKED_AS.get(name, name)))
        return cls(submitted.agent, submitted.provider, submission)


ASKED_AS = {"budget": "budget_nano_usd"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What the scheduler has to know of a submission. `by` is the submission itself: its position is the task's age."""

    task: str
    org: str
    needs: Needs
    image: str | None
    priority: int
    max_attempts: int
    timeout_s: int | None
    budget_nano_usd: int | None = None
    by: Cause

    @classmethod
    def of(cls, submitted: TaskSubmitted, by: Cause) -> Submission:
        return cls(
            task=submitted.task,
            org=submitted.org,
            needs=Needs.of(submitted),
            image=submitted.image,
            priority=submitted.priority,
            max_attempts=submitted.max_attempts,
            timeout_s=submitted.timeout_s,
            budget_nano_usd=submitted.budget_nano_usd,
            by=by,
        )


class QuotaUse(NamedTuple):
    """What the attempts of a task have used of quotas, as far as they have ended."""

    model_nano_usd: int = 0
    total_nano_usd: int = 0
    storage_bytes: int = 0

    def plus(self, more: QuotaUse) -> QuotaUse:
        return QuotaUse(*(one + other for one, other in zip(self, more, strict=True)))


NO_QUOTA_USE = QuotaUse()


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What all states share. `cancellation` is the user's request, also while it is not carried out."""

    submission: Submission
    cancellation: Cause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted(Live):
    """Nothing has been decided yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted(Live):
    """What `admission` says is reserved. `lost` attempts are spent retries; `executed` once an attempt has started."""

    admission: Admission
    attempt: int
    lost: int = 0
    executed: bool = False
    used: QuotaUse = NO_QUOTA_USE


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(Admitted):
    """Waits for a slot; `attempt` is the number that its next attempt will have, `entered` the event that queued it."""

    entered: Cause

    @property
    def level(self) -> tuple[int, int]:
        """Its place in its organisation's queue: by priority, repeated tasks before new ones; then by age."""
        return -self.submission.priority, 0 if self.attempt > 1 else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted(Admitted):
    """`attempt` has been given to `runner`, by the event `assigned`."""

    runner: str
    assigned: Cause
    deadline: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned(Attempted):
    """The runner has not recorded the start yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running(Attempted):
    """The runner has started the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Attempted):
    """The attempt is over, and what follows for the task has not been decided yet."""

    outcome: Outcome
    cause: Cause
    exit_code: int | None = None
    reason: str | None = None


LiveTask = Submitted | Queued | Assigned | Running | Ended
State = TypeVar("State", bound=Live)


def due(task: LiveTask) -> bool:
    """Whether something has to be decided for the task, whatever slots there are."""
    match task:
        case Submitted() | Ended():
            return True
        case Queued():
            return task.cancellation is not None
        case Assigned():  # the runner follows only requests after its assignment
            return task.cancellation is not None and task.cancellation.position < task.assigned.position
        case Running():
            return False


def end(task: Assigned | Running, outcome: Outcome, cause: Cause, **details: Any) -> Ended:
    """The attempt is over."""
    return transition(Ended, task, outcome=outcome, cause=cause, **details)


def cancel(task: LiveTask, cause: Cause) -> LiveTask:
    """The user wants the task to stop; the first request counts."""
    return task if task.cancellation else replace(task, cancellation=cause)


def transition(state: type[State], task: Live, **changes: Any) -> State:
    """The task in another state: what both states have is carried over, `changes` are laid on top."""
    carried = {name: getattr(task, name) for name in _COMMON[state, type(task)] if name not in changes}
    return state(**carried, **changes)


_STATES: tuple[Any, ...] = (Submitted, Queued, Assigned, Running, Ended)
_FIELDS = {state: tuple(field.name for field in fields(state)) for state in _STATES}
_COMMON: dict[tuple[Any, Any], tuple[str, ...]] = {
    (to, of): tuple(name for name in _FIELDS[to] if name in _FIELDS[of]) for to in _STATES for of in _STATES
}
