"""An account at a sign-in provider: linked to one person, once."""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.contracts.auth import IdentityLinked
from remote_claude.contracts.base import Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkIdentity:
    identity: str
    user: str
    provider: str
    subject: Sealed
    name: Sealed
    email: Sealed | None
    email_hash: str | None


@dataclass(frozen=True, slots=True)
class Unlinked:
    """Nobody has signed in with it."""


@dataclass(frozen=True, slots=True)
class Linked:
    """It belongs to a person."""

    user: str


State = Unlinked | Linked

initial_state: State = Unlinked()


def decide(command: LinkIdentity, state: State) -> list[IdentityLinked]:
    """An account that is linked stays with its person."""
    if isinstance(state, Linked):
        return []
    return [
        IdentityLinked(
            identity=command.identity,
            user=command.user,
            provider=command.provider,
            subject=command.subject,
            name=command.name,
            email=command.email,
            email_hash=command.email_hash,
        )
    ]


def evolve(_: State, event: IdentityLinked) -> State:
    """The state after an event."""
    return Linked(event.user)
