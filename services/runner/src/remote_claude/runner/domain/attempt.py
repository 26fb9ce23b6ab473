"""An attempt: started once, sampled while it runs, finished once. Its stream is the record of what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never

from remote_claude.contracts.base import Sealed
from remote_claude.contracts.runner import (
    AssignmentDeclined,
    AttemptFinished,
    AttemptOutcome,
    CheckpointSaved,
    Cumulative,
    OpenModelCall,
    PermissionRequested,
    PermissionWithdrawn,
    Result,
    SealedOutput,
    TaskStarted,
    UsageRecorded,
    UsageSample,
)

AttemptEvent = (
    TaskStarted
    | UsageRecorded
    | CheckpointSaved
    | PermissionRequested
    | PermissionWithdrawn
    | AssignmentDeclined
    | AttemptFinished
)


@dataclass(frozen=True, slots=True)
class AttemptId:
    """Which attempt of which task, and who executes it."""

    org: str
    task: str
    attempt: int
    runner: str


@dataclass(frozen=True, slots=True)
class Start:
    """The sandbox is about to be launched. It is given these secrets."""

    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What an attempt has used in a window of time, measured outside the sandbox. `UsageSample` has the shapes."""

    cumulative: Cumulative
    measured_from: str
    measured_to: str
    open_calls: tuple[OpenModelCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """What has been used so far."""

    used: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveCheckpoint:
    """The state after a turn is kept, as the object `manifest` and its chunks."""

    turn: int
    manifest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPermission:
    """The agent waits for a person's answer."""

    request: str
    tool: str
    input: Sealed


@dataclass(frozen=True, slots=True)
class WithdrawPermission:
    """The agent waits for no answer to it any more."""

    request: str


@dataclass(frozen=True, slots=True)
class Decline:
    """The attempt never began, and costs no retry."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The sandbox is gone. `used` is the last measure; without one the last sample counts.

    `started_at` is set when the attempt began and ended at once.
    """

    outcome: AttemptOutcome
    started_at: str | None = None
    used: Measured | None = None
    exit_code: int | None = None
    reason: str | None = None
    detail: Sealed | None = None
    summary: Sealed | None = None
    checks: Sealed | None = None
    result: Result | None = None
    output: SealedOutput | None = None


Command = Start | Sample | SaveCheckpoint | RequestPermission | WithdrawPermission | Decline | Finish


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Assigned, and nothing is recorded yet."""


@dataclass(frozen=True, slots=True)
class RunningAttempt:
    """Started; `last` is the latest sample."""

    last: UsageSample | None = None
    checkpoints: int = 0
    permissions: frozenset[str] = frozenset()
    """Requests that are recorded."""


@dataclass(frozen=True, slots=True)
class Over:
    """Declined or finished: nothing more is recorded."""


State = NotStarted | RunningAttempt | Over

initial_state: State = NotStarted()


def decide(id: AttemptId, command: Command, state: State) -> list[AttemptEvent]:
    """The events of a command; none where nothing changes. An attempt that is over stays so."""
    who = {"org": id.org, "task": id.task, "attempt": id.attempt, "runner": id.runner}
    match command, state:
        case _, Over():
            return []
        case Start(secrets), NotStarted():
            return [TaskStarted(**who, secrets=secrets)]
        case Start(), RunningAttempt():
            return []
        case Sample(used), RunningAttempt(last=last):
            if last is not None and (used.cumulative, used.open_calls) == (last.cumulative, last.open_calls):
                return []
            return [UsageRecorded(**who, **_sampled(used, last))]
        case Sample(), NotStarted():
            return []
        case SaveCheckpoint() as saved, RunningAttempt(checkpoints=before):
            return [
                CheckpointSaved(
                    **who, sequence=before + 1, turn=saved.turn, manifest=saved.manifest, size=saved.size
                )
            ]
        case SaveCheckpoint(), NotStarted():
            return []
        case RequestPermission(request=request), RunningAttempt(permissions=known):
            if request in known:
                return []
            return [PermissionRequested(**who, request=request, tool=command.tool, input=command.input)]
        case WithdrawPermission(request), RunningAttempt(permissions=known):
            return [PermissionWithdrawn(**who, request=request)] if request in known else []
        case RequestPermission() | WithdrawPermission(), NotStarted():
            return []
        case Decline(reason), NotStarted():
            return [AssignmentDeclined(**who, reason=reason)]
        case Decline(), RunningAttempt():
            return []
        case Finish() as finish, NotStarted() | RunningAttempt():
            return [
                AttemptFinished(
                    **who,
                    outcome=finish.outcome,
                    started_at=finish.started_at,
                    exit_code=finish.exit_code,
                    reason=finish.reason,
                    detail=finish.detail,
                    summary=finish.summary,
                    checks=finish.checks,
                    usage=_closing(finish.used, state.last) if isinstance(state, RunningAttempt) else None,
                    result=finish.result,
                    output=finish.output,
                )
            ]
        case _:
            raise AssertionError((command, state))


def _sampled(used: Measured, last: UsageSample | None) -> dict[str, Any]:
    return {
        "sequence": last.sequence + 1 if last is not None else 1,
        "measured_from": used.measured_from,
        "measured_to": used.measured_to,
        "cumulative": used.cumulative,
        "open_calls": used.open_calls,
    }


def _closing(used: Measured | None, last: UsageSample | None) -> UsageSample | None:
    """The closing total: a call whose end will not be recorded counts as far as it was sent."""
    if used is not None:
        sample = UsageSample(**_sampled(used, last))
    elif last is not None:
        sample = last.model_copy(update={"sequence": last.sequence + 1})
    else:
        return None
    return UsageSample(
        sequence=sample.sequence,
        measured_from=sample.measured_from,
        measured_to=sample.measured_to,
        cumulative=sample.total,
    )


def evolve(state: State, event: AttemptEvent) -> State:
    match event:
        case TaskStarted():
            return RunningAttempt()
        case UsageRecorded():
            return replace(state, last=event) if isinstance(state, RunningAttempt) else RunningAttempt(event)
        case CheckpointSaved():
            return replace(state, checkpoints=event.sequence) if isinstance(state, RunningAttempt) else state
        case PermissionRequested(request=request):
            if not isinstance(state, RunningAttempt):
                return state
            return replace(state, permissions=state.permissions | {request})
        case PermissionWithdrawn():
            return state
        case AssignmentDeclined() | AttemptFinished():
            return Over()
        case _:
            assert_never(event)


def fold(events: Sequence[AttemptEvent]) -> State:
    """The state after these events."""
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state
