"""A task's life, folded from the events of gateway, scheduler and runner in log order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from remote_claude.contracts import Event
from remote_claude.contracts.base import Sealed, Value
from remote_claude.contracts.gateway import (
    ContentKind,
    PermissionAnswered,
    PullRequestRequested,
    TaskContentRemoved,
    TaskSubmitted,
)
from remote_claude.contracts.runner import (
    AssignmentDeclined,
    AttemptEvent,
    AttemptFinished,
    AttemptOutcome,
    Cumulative,
    PermissionRequested,
    PermissionWithdrawn,
    PullRequestFailed,
    PullRequestOpened,
    Result,
    SealedOutput,
    TaskStarted,
    UsageRecorded,
)
from remote_claude.contracts.scheduler import (
    RunnerLost,
    TaskAdmitted,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
    TaskTimedOut,
)

State = Literal[
    "submitted", "queued", "assigned", "running", "succeeded", "failed", "cancelled", "timed_out", "rejected"
]
TERMINAL: frozenset[State] = frozenset({"succeeded", "failed", "cancelled", "timed_out", "rejected"})


class Attempt(Value):
    """One attempt as far as it has come. `outcome` is None until it has finished or its runner was lost."""

    number: int
    runner: str
    provider: str
    started_at: str | None = None
    finished_at: str | None = None
    outcome: AttemptOutcome | None = None
    reason: str | None = None
    detail: Sealed | None = None
    exit_code: int | None = None
    result: Result | None = None
    output: SealedOutput | None = None
    usage_sequence: int = 0
    usage: Cumulative = Cumulative()


class AskedPermission(Value):
    """What the agent of a running task waits for: whether it may use `tool` with `input`, a JSON object."""

    request: str
    attempt: int
    tool: str
    input: Sealed
    asked_at: str


class PullRequest(Value):
    """What became of a pull request that was requested. It is looked at once the task has succeeded."""

    state: Literal["requested", "opened", "failed"] = "requested"
    forge: str | None = None
    number: int | None = None
    url: Sealed | None = None
    branch: str | None = None
    reason: str | None = None
    detail: Sealed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """How far a task is.

    `attempt` is the number of the current attempt, 0 before the first. `decided` is the position of the admission
    or the rejection, `changed` the position of the last change of `state`, `attempt`, `permissions` or `pull_request`. `permissions` are those that the agent waits for.
    """

    state: State = "submitted"
    reason: str | None = None
    detail: str | None = None
    attempt: int = 0
    exit_code: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    decided: int | None = None
    changed: int = 0
    attempts: tuple[Attempt, ...] = ()
    pull_request: PullRequest | None = None
    permissions: tuple[AskedPermission, ...] = ()
    removed: tuple[ContentKind, ...] = ()
    """Content that is not kept any more."""

    @property
    def terminal(self) -> bool:
        """The scheduler has said its last word."""
        return self.state in TERMINAL

    @property
    def settled(self) -> bool:
        """Terminal, and no attempt has anything more to say."""
        return self.terminal and all(a.outcome is not None or a.started_at is None for a in self.attempts)

    def get(self, number: int) -> Attempt | None:
        """An attempt by its number."""
        return next((a for a in self.attempts if a.number == number), None)


def evolve(progress: TaskProgress, event: Event, *, position: int, occurred_at: str) -> TaskProgress:
    """The progress after an event of the task.

    What a runner says of another attempt than the current one, or after the end, is kept with its attempt and
    changes no state.
    """
    after = _evolve(progress, event, position, occurred_at)
    if after.permissions and (after.state != "running" or after.attempt != progress.attempt):
        return replace(after, permissions=())
    return after


def _evolve(progress: TaskProgress, event: Event, position: int, occurred_at: str) -> TaskProgress:
    match event:
        case AttemptEvent():
            return _attempt_says(progress, event, position, occurred_at)
        case TaskSubmitted() if event.pull_request is not None:
            return replace(progress, pull_request=PullRequest())
        case PullRequestRequested():
            return replace(progress, pull_request=PullRequest(), changed=position)
        case PullRequestOpened():
            opened = PullRequest(
                state="opened",
                forge=event.forge,
                number=event.number,
                url=event.url,
                branch=event.branch,
            )
            return replace(progress, pull_request=opened, changed=position)
        case PullRequestFailed():
            failed = PullRequest(state="failed", reason=event.reason, detail=event.detail)
            return replace(progress, pull_request=failed, changed=position)
        case TaskContentRemoved():
            return replace(progress, removed=(*progress.removed, *event.kinds))
        case _ if progress.terminal:
            return progress
        case PermissionAnswered():
            return _without_permission(progress, event.request, position)
        case TaskAdmitted():
            return replace(progress, state="queued", decided=position, changed=position)
        case TaskRejected():
            end = _end(progress, "rejected", position, occurred_at, event.code)
            return replace(end, detail=event.detail, decided=position)
        case TaskAssigned():
            assigned = Attempt(number=event.attempt, runner=event.runner, provider=event.provider)
            return replace(
                progress,
                state="assigned",
                decided=progress.decided if event.admission is None else position,
                attempt=event.attempt,
                exit_code=None,
                changed=position,
                attempts=_put(progress.attempts, assigned),
            )
        case TaskRequeued():
            return replace(progress, state="queued", changed=position)
        case RunnerLost():
            return _lost(progress, event, occurred_at)
        case TaskSucceeded():
            return _end(progress, "succeeded", position, occurred_at)
        case TaskFailed():
            end = _end(progress, "failed", position, occurred_at, event.reason)
            return end if event.exit_code is None else replace(end, exit_code=event.exit_code)
        case TaskCancelled():
            return _end(progress, "cancelled", position, occurred_at)
        case TaskTimedOut():
            return _end(progress, "timed_out", position, occurred_at)
        case _:
            return progress


def total_usage(attempts: Sequence[Attempt]) -> Cumulative:
    """What all attempts have used together."""
    return sum((attempt.usage for attempt in attempts), Cumulative())


def _end(
    progress: TaskProgress, state: State, position: int, at: str, reason: str | None = None
) -> TaskProgress:
    return replace(progress, state=state, reason=reason, finished_at=at, changed=position)


def _attempt_says(progress: TaskProgress, event: AttemptEvent, position: int, at: str) -> TaskProgress:
    attempt = progress.get(event.attempt)
    if attempt is None:
        return progress
    current = event.attempt == progress.attempt and not progress.terminal
    match event:
        case TaskStarted() if attempt.outcome is None:
            return _started(progress, attempt, position, at)
        case PermissionRequested() if current and attempt.outcome is None:
            asked = AskedPermission(
                request=event.request, attempt=event.attempt, tool=event.tool, input=event.input, asked_at=at
            )
            return replace(progress, permissions=(*progress.permissions, asked), changed=position)
        case PermissionWithdrawn() if current:
            return _without_permission(progress, event.request, position)
        case AssignmentDeclined():
            others = tuple(a for a in progress.attempts if a.number != event.attempt)
            return replace(progress, attempts=others)
        case UsageRecorded() if event.sequence > attempt.usage_sequence:
            used = attempt.model_copy(update={"usage_sequence": event.sequence, "usage": event.total})
            return replace(progress, attempts=_put(progress.attempts, used))
        case AttemptFinished() if attempt.outcome == "lost":
            late = attempt.model_copy(update={"output": event.output, **_closing(event)})
            return replace(progress, attempts=_put(progress.attempts, late))
        case AttemptFinished():
            if event.started_at is not None:
                progress = _started(progress, attempt, position, event.started_at)
                attempt = progress.get(event.attempt) or attempt
            finished = attempt.model_copy(
                update={
                    "finished_at": at,
                    "outcome": event.outcome,
                    "reason": event.reason,
                    "detail": event.detail,
                    "exit_code": event.exit_code,
                    "result": event.result,
                    "output": event.output,
                    **_closing(event),
                }
            )
            progress = replace(progress, attempts=_put(progress.attempts, finished))
            return replace(progress, exit_code=event.exit_code, permissions=()) if current else progress
        case _:
            return progress


def _without_permission(progress: TaskProgress, request: str, position: int) -> TaskProgress:
    left = tuple(asked for asked in progress.permissions if asked.request != request)
    if len(left) == len(progress.permissions):
        return progress
    return replace(progress, permissions=left, changed=position)


def _closing(event: AttemptFinished) -> dict[str, Any]:
    if event.usage is None:
        return {}
    return {"usage_sequence": event.usage.sequence, "usage": event.usage.total}


def _started(progress: TaskProgress, attempt: Attempt, position: int, at: str) -> TaskProgress:
    started = attempt.model_copy(update={"started_at": at})
    current = attempt.number == progress.attempt and progress.state == "assigned"
    progress = replace(progress, attempts=_put(progress.attempts, started))
    if not current:
        return progress
    return replace(progress, state="running", started_at=progress.started_at or at, changed=position)


def _lost(progress: TaskProgress, event: RunnerLost, at: str) -> TaskProgress:
    attempt = progress.get(event.attempt)
    if attempt is None or attempt.outcome is not None:
        return progress
    lost = attempt.model_copy(update={"outcome": "lost", "reason": event.reason, "finished_at": at})
    return replace(progress, attempts=_put(progress.attempts, lost))


def _put(attempts: tuple[Attempt, ...], attempt: Attempt) -> tuple[Attempt, ...]:
    """With this attempt in the place of the one of its number, in order of numbers."""
    return tuple(
        sorted((*(a for a in attempts if a.number != attempt.number), attempt), key=lambda a: a.number)
    )
