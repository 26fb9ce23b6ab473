"""An organisation and who is in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from remote_claude.contracts import Sealed
from remote_claude.contracts.users import MemberJoined, OrgCreated, Role

OrgEvent = OrgCreated | MemberJoined


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOrg:
    """Found an organisation; `owner` is its first member."""

    org: str
    name: Sealed
    owner: str


@dataclass(frozen=True, slots=True)
class Organisation:
    created: bool = False
    members: dict[str, Role] = field(default_factory=dict)


initial_state = Organisation()


def decide(command: CreateOrg, state: Organisation) -> list[OrgEvent]:
    """An organisation is founded once."""
    if state.created:
        return []
    return [
        OrgCreated(org=command.org, name=command.name, owner=command.owner),
        MemberJoined(org=command.org, user=command.owner, role="owner"),
    ]


def evolve(state: Organisation, event: OrgEvent) -> Organisation:
    match event:
        case OrgCreated():
            return replace(state, created=True)
        case MemberJoined():
            return replace(state, members={**state.members, event.user: event.role})
        case _:
            assert_never(event)


def fold(events: Sequence[OrgEvent]) -> Organisation:
    """The organisation after these events."""
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state
