"""A trigger: an address to which a forge posts its events, and its life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.gateway import TriggerCreated, TriggerRemoved
from remote_claude.gateway.domain.forge_events import Forge
from remote_claude.gateway.domain.refusals import TriggerNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTrigger:
    trigger: str
    org: str
    user: str
    forge: Forge
    secret: Sealed
    rules: Sealed
    request: Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveTrigger:
    trigger: str
    org: str
    user: str


Command = CreateTrigger | RemoveTrigger


@dataclass(frozen=True, slots=True)
class TriggerNotCreated:
    """Nothing is known of it."""


@dataclass(frozen=True, slots=True)
class ActiveTrigger:
    """It starts tasks."""


@dataclass(frozen=True, slots=True)
class RemovedTrigger:
    """It starts nothing more."""


State = TriggerNotCreated | ActiveTrigger | RemovedTrigger
initial_state: State = TriggerNotCreated()


def decide(command: Command, state: State) -> list[Event]:
    """What is to be recorded. Raises `TriggerNotFound`."""
    match command:
        case CreateTrigger():
            if isinstance(state, TriggerNotCreated):
                return [
                    TriggerCreated(
                        trigger=command.trigger,
                        org=command.org,
                        user=command.user,
                        forge=command.forge,
                        secret=command.secret,
                        rules=command.rules,
                        request=command.request,
                    )
                ]
        case RemoveTrigger():
            if isinstance(state, TriggerNotCreated):
                raise TriggerNotFound(command.trigger)
            if isinstance(state, ActiveTrigger):
                return [TriggerRemoved(trigger=command.trigger, org=command.org, user=command.user)]
        case _:
            assert_never(command)
    return []


def evolve(state: State, event: Event) -> State:
    """The state after an event."""
    match event:
        case TriggerCreated():
            return ActiveTrigger()
        case TriggerRemoved():
            return RemovedTrigger()
        case _:
            return state
