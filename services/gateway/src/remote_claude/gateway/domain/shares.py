"""A link with which anyone who has it may read one task, until it expires or is revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from remote_claude.contracts import Event
from remote_claude.contracts.gateway import TaskShared, TaskUnshared
from remote_claude.gateway.domain.refusals import ShareNotFound


@dataclass(frozen=True, slots=True)
class ShareTask:
    """`shared` is recorded as it is."""

    shared: TaskShared


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeShare:
    task: str
    user: str


Command = ShareTask | RevokeShare


@dataclass(frozen=True, slots=True)
class NotShared:
    """There is no such link."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """It opens nothing any more."""


State = NotShared | TaskShared | Revoked

initial_state: State = NotShared()


def decide(command: Command, state: State) -> list[Event]:
    """What is to be recorded; nothing when it was recorded before. Raises `ShareNotFound`."""
    match command, state:
        case ShareTask(shared=shared), NotShared():
            return [shared]
        case ShareTask(), _:
            return []
        case RevokeShare(), TaskShared() if state.task == command.task:
            return [TaskUnshared(share=state.share, org=state.org, task=state.task, user=command.user)]
        case RevokeShare(), Revoked():
            return []
        case RevokeShare(), _:
            raise ShareNotFound
        case _:
            assert_never(command)


def evolve(state: State, event: Event) -> State:
    """The state after an event."""
    match event:
        case TaskShared():
            return event
        case TaskUnshared():
            return Revoked()
        case _:
            return state
