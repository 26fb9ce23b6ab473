"""The task as the gateway owns it: its submission, messages and requests. The decider of submissions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.gateway import (
    ContentKind,
    PermissionAnswered,
    PermissionDecision,
    PullRequestRequested,
    TaskCancellationRequested,
    TaskContentRemoved,
    TaskMessageSent,
    TaskSubmitted,
)
from remote_claude.gateway.domain.refusals import (
    IdempotencyKeyReused,
    PermissionNotAsked,
    TaskAlreadyFinished,
    TaskNotFound,
)


@dataclass(frozen=True, slots=True)
class SubmitTask:
    """`submission` is recorded as it is, unless the task was submitted before."""

    submission: TaskSubmitted

    @property
    def task(self) -> str:
        return self.submission.task

    @property
    def org(self) -> str:
        return self.submission.org


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCancellation:
    task: str
    org: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendMessage:
    """A person's message to the agent. The task counts its messages."""

    task: str
    org: str
    user: str
    text: Sealed
    interrupt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPermission:
    """A person's answer to a request of the agent. The first one counts."""

    task: str
    org: str
    user: str
    request: str
    decision: PermissionDecision
    message: Sealed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPullRequest:
    """Open the pull request of a task that has succeeded, in `attempt`, or try again."""

    task: str
    org: str
    user: str
    attempt: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContent:
    """Record that the objects of these kinds are deleted."""

    task: str
    org: str
    kinds: tuple[ContentKind, ...]


Command = (
    RemoveContent | SubmitTask | RequestCancellation | SendMessage | AnswerPermission | RequestPullRequest
)


@dataclass(frozen=True, slots=True)
class NotSubmitted:
    """Nothing is known of it."""


@dataclass(frozen=True, slots=True)
class SubmittedTask:
    body_hash: str
    messages: int = 0
    answered: Mapping[str, PermissionDecision] = field(default_factory=dict)
    """Permission requests with their answers."""
    removed: tuple[ContentKind, ...] = ()


@dataclass(frozen=True, slots=True)
class CancellationRequested:
    body_hash: str
    messages: int = 0
    removed: tuple[ContentKind, ...] = ()


State = NotSubmitted | SubmittedTask | CancellationRequested

initial_state: State = NotSubmitted()


def decide(command: Command, state: State) -> list[Event]:
    """What is to be recorded; nothing when it has been said before.

    Raises `IdempotencyKeyReused`, `TaskNotFound`, `TaskAlreadyFinished`, `PermissionNotAsked`.
    """
    match command:
        case SubmitTask():
            return _submit(command, state)
        case RequestCancellation():
            return _request_cancellation(command, state)
        case SendMessage():
            return _send_message(command, state)
        case AnswerPermission():
            return _answer_permission(command, state)
        case RequestPullRequest():
            if isinstance(state, NotSubmitted):
                raise TaskNotFound(command.task)
            return [
                PullRequestRequested(
                    task=command.task, org=command.org, user=command.user, attempt=command.attempt
                )
            ]
        case RemoveContent():
            if isinstance(state, NotSubmitted):
                raise TaskNotFound(command.task)
            kinds = tuple(kind for kind in command.kinds if kind not in state.removed)
            return [TaskContentRemoved(task=command.task, org=command.org, kinds=kinds)] if kinds else []
        case _:
            assert_never(command)


def evolve(state: State, event: Event) -> State:
    """The state after an event; one that says nothing here changes nothing."""
    match event:
        case TaskSubmitted():
            return SubmittedTask(event.body_hash)
        case TaskCancellationRequested() if isinstance(state, SubmittedTask):
            return CancellationRequested(state.body_hash, state.messages)
        case PermissionAnswered() if isinstance(state, SubmittedTask):
            return replace(state, answered={**state.answered, event.request: event.decision})
        case TaskMessageSent() if not isinstance(state, NotSubmitted):
            return replace(state, messages=event.number)
        case TaskContentRemoved() if not isinstance(state, NotSubmitted):
            return replace(state, removed=(*state.removed, *event.kinds))
        case _:
            return state


def _submit(command: SubmitTask, state: State) -> list[Event]:
    match state:
        case NotSubmitted():
            return [command.submission]
        case SubmittedTask(body_hash=body_hash) | CancellationRequested(body_hash=body_hash):
            if body_hash != command.submission.body_hash:
                raise IdempotencyKeyReused(command.task)
            return []
        case _:
            assert_never(state)


def _request_cancellation(command: RequestCancellation, state: State) -> list[Event]:
    match state:
        case NotSubmitted():
            raise TaskNotFound(command.task)
        case SubmittedTask():
            return [TaskCancellationRequested(task=command.task, org=command.org, user=command.user)]
        case CancellationRequested():
            return []
        case _:
            assert_never(state)


def _send_message(command: SendMessage, state: State) -> list[Event]:
    match state:
        case NotSubmitted():
            raise TaskNotFound(command.task)
        case CancellationRequested():
            raise TaskAlreadyFinished("cancelled")
        case SubmittedTask(messages=before):
            return [
                TaskMessageSent(
                    task=command.task,
                    org=command.org,
                    user=command.user,
                    number=before + 1,
                    text=command.text,
                    interrupt=command.interrupt,
                )
            ]
        case _:
            assert_never(state)


def _answer_permission(command: AnswerPermission, state: State) -> list[Event]:
    match state:
        case NotSubmitted():
            raise TaskNotFound(command.task)
        case CancellationRequested():
            raise TaskAlreadyFinished("cancelled")
        case SubmittedTask(answered=answered):
            before = answered.get(command.request)
            if before == command.decision:
                return []
            if before is not None:
                raise PermissionNotAsked(command.task, command.request)
            return [
                PermissionAnswered(
                    task=command.task,
                    org=command.org,
                    user=command.user,
                    request=command.request,
                    decision=command.decision,
                    message=command.message,
                )
            ]
        case _:
            assert_never(state)
