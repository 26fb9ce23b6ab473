"""A batch: many tasks in one request, how many of them run at a time, and when all of it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.gateway import (
    BatchCancellationRequested,
    BatchEnded,
    BatchItemRefused,
    BatchSubmitted,
)
from remote_claude.gateway.domain.lifecycle import TERMINAL
from remote_claude.gateway.domain.lifecycle import State as TaskState
from remote_claude.gateway.domain.refusals import BatchAlreadyEnded, BatchNotFound, IdempotencyKeyReused

Outcome = Literal["succeeded", "failed", "cancelled"]
ItemState = TaskState | Literal["not_submitted", "refused"]


@dataclass(frozen=True, slots=True)
class SubmitBatch:
    """`submission` is recorded as it is, unless the batch was submitted before."""

    submission: BatchSubmitted

    @property
    def batch(self) -> str:
        return self.submission.batch

    @property
    def org(self) -> str:
        return self.submission.org


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseItem:
    """Record that an item has no task."""

    batch: str
    org: str
    item: int
    reason: str
    detail: Sealed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelBatch:
    batch: str
    org: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndBatch:
    """Record that all of it is over."""

    batch: str
    org: str
    outcome: Outcome


Command = SubmitBatch | RefuseItem | CancelBatch | EndBatch


@dataclass(frozen=True, slots=True)
class UnknownBatch:
    """Nothing is known of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBatch:
    body_hash: str
    refused: frozenset[int] = frozenset()
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedBatch:
    body_hash: str
    outcome: Outcome


BatchState = UnknownBatch | RunningBatch | EndedBatch
initial_state: BatchState = UnknownBatch()


def decide(command: Command, state: BatchState) -> list[Event]:
    """What is to be recorded; nothing when it has been recorded before.

    Raises `IdempotencyKeyReused`, `BatchNotFound`, `BatchAlreadyEnded`.
    """
    if isinstance(command, SubmitBatch):
        if isinstance(state, UnknownBatch):
            return [command.submission]
        if state.body_hash != command.submission.body_hash:
            raise IdempotencyKeyReused(command.batch)
        return []
    if isinstance(state, UnknownBatch):
        raise BatchNotFound(command.batch)
    match command, state:
        case RefuseItem(item=item), RunningBatch(refused=refused) if item not in refused:
            return [
                BatchItemRefused(
                    batch=command.batch,
                    org=command.org,
                    item=item,
                    reason=command.reason,
                    detail=command.detail,
                )
            ]
        case CancelBatch(), EndedBatch(outcome=outcome) if outcome != "cancelled":
            raise BatchAlreadyEnded(outcome)
        case CancelBatch(), RunningBatch(cancelled=False):
            return [BatchCancellationRequested(batch=command.batch, org=command.org, user=command.user)]
        case EndBatch(), RunningBatch():
            return [BatchEnded(batch=command.batch, org=command.org, outcome=command.outcome)]
        case ((RefuseItem() | CancelBatch() | EndBatch()), _):
            return []
        case _:
            assert_never(command)


def evolve(state: BatchState, event: Event) -> BatchState:
    """The state after an event."""
    match event, state:
        case BatchSubmitted(body_hash=body_hash), _:
            return RunningBatch(body_hash=body_hash)
        case BatchItemRefused(item=item), RunningBatch():
            return replace(state, refused=state.refused | {item})
        case BatchCancellationRequested(), RunningBatch():
            return replace(state, cancelled=True)
        case BatchEnded(outcome=outcome), RunningBatch(body_hash=body_hash):
            return EndedBatch(body_hash=body_hash, outcome=outcome)
        case _:
            return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a batch as far as it is. `task` is None until it is submitted, and where it was refused."""

    number: int
    state: ItemState = "not_submitted"
    task: str | None = None

    @property
    def runs(self) -> bool:
        """Whether its task has been submitted and has not ended."""
        return self.task is not None and self.state not in TERMINAL

    @property
    def failed(self) -> bool:
        """Whether it has ended, or was refused, without success."""
        return self.state == "refused" or (self.state in TERMINAL and self.state != "succeeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What is to be done for a batch now: items to submit, tasks to cancel, or its end."""

    submit: tuple[int, ...] = ()
    cancel: tuple[str, ...] = ()
    outcome: Outcome | None = None


def next_steps(
    items: Sequence[Item], *, max_parallel: int | None, stop_on_failure: bool, cancelled: bool
) -> Steps:
    """What is to be done, of all items in their order."""
    running = [item for item in items if item.runs]
    waiting = [item.number for item in items if item.state == "not_submitted"]
    failed = any(item.failed for item in items)
    if cancelled or (failed and stop_on_failure):
        if running:
            return Steps(cancel=tuple(item.task for item in running if item.task is not None))
        return Steps(outcome="cancelled" if cancelled else "failed")
    if waiting:
        free = len(waiting) if max_parallel is None else max(0, max_parallel - len(running))
        return Steps(submit=tuple(waiting[:free]))
    if running:
        return Steps()
    return Steps(outcome="failed" if failed else "succeeded")
