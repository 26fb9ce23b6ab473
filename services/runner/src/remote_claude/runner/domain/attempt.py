"""An attempt: started once, sampled while it runs, finished once. What its stream says is what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from remote_claude.contracts.runner import (
    AssignmentDeclined,
    AttemptFinished,
    AttemptOutcome,
    Cumulative,
    Result,
    SealedOutput,
    TaskStarted,
    UsageRecorded,
)

AttemptEvent = TaskStarted | UsageRecorded | AssignmentDeclined | AttemptFinished


@dataclass(frozen=True, slots=True)
class AttemptId:
    """Which attempt of which task, and who executes it."""

    org: str
    task: str
    attempt: int
    runner: str


@dataclass(frozen=True, slots=True)
class Start:
    """The sandbox is about to be launched."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What has been used so far, measured outside the sandbox."""

    used: Cumulative


@dataclass(frozen=True, slots=True)
class Decline:
    """The attempt never began, and costs no retry."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The sandbox is gone. `used` is the last sample."""

    outcome: AttemptOutcome
    used: Cumulative | None = None
    exit_code: int | None = None
    reason: str | None = None
    result: Result | None = None
    output: SealedOutput | None = None


Command = Start | Sample | Decline | Finish


@dataclass(frozen=True, slots=True)
class Waiting:
    """Assigned, and nothing has been said yet."""


@dataclass(frozen=True, slots=True)
class Running:
    """Started; `sequence` samples so far, the last of which was `used`."""

    sequence: int = 0
    used: Cumulative = Cumulative()  # noqa: RUF009  frozen


@dataclass(frozen=True, slots=True)
class Over:
    """Declined or finished: nothing more is said."""


State = Waiting | Running | Over

initial_state: State = Waiting()


def decide(id: AttemptId, command: Command, state: State) -> list[AttemptEvent]:
    """What follows from a command. An attempt that is over stays so; what is so already follows in nothing."""
    who = {"org": id.org, "task": id.task, "attempt": id.attempt, "runner": id.runner}
    match command, state:
        case _, Over():
            return []
        case Start(), Waiting():
            return [TaskStarted(**who)]
        case Start(), Running():
            return []
        case Sample(used), Running(sequence, last):
            return [] if used == last else [UsageRecorded(**who, sequence=sequence + 1, cumulative=used)]
        case Sample(), Waiting():
            return []
        case Decline(reason), Waiting():
            return [AssignmentDeclined(**who, reason=reason)]
        case Decline(), Running():
            return []
        case Finish() as finish, Waiting() | Running():
            sampled = decide(id, Sample(finish.used), state) if finish.used is not None else []
            finished = AttemptFinished(
                **who,
                outcome=finish.outcome,
                exit_code=finish.exit_code,
                reason=finish.reason,
                result=finish.result,
                output=finish.output,
            )
            return [*sampled, finished]
        case _:
            raise AssertionError((command, state))


def evolve(state: State, event: AttemptEvent) -> State:
    match event:
        case TaskStarted():
            return Running()
        case UsageRecorded():
            return Running(event.sequence, event.cumulative)
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
