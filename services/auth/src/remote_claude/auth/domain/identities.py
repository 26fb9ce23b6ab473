"""An account at a sign-in provider: linked to one person, once."""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.contracts.auth import IdentityLinked, IdentityUnlinked
from remote_claude.contracts.base import Sealed
from remote_claude.contracts.refusals import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkIdentity:
    identity: str
    user: str
    provider: str
    subject: Sealed
    name: Sealed
    email: Sealed | None
    email_hash: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlinkIdentity:
    identity: str
    user: str


@dataclass(frozen=True, slots=True)
class Unlinked:
    """Nobody has signed in with it."""


@dataclass(frozen=True, slots=True)
class Linked:
    """It belongs to a person."""

    user: str


State = Unlinked | Linked
IdentityEvent = IdentityLinked | IdentityUnlinked


class IdentityNotFound(Refusal):
    code = "identity_not_found"
    status = 404

    def __init__(self) -> None:
        super().__init__("No such account signs you in. `GET /v1/identities` lists yours.")


class LastIdentity(Refusal):
    """Without it the person could not sign in again."""

    code = "last_identity"
    status = 409

    def __init__(self) -> None:
        super().__init__("This is the only account that signs you in. Link another one first.")


initial_state: State = Unlinked()


def decide(command: LinkIdentity | UnlinkIdentity, state: State) -> list[IdentityEvent]:
    """An account that is linked stays with its person until they unlink it. Raises `IdentityNotFound`."""
    if isinstance(command, UnlinkIdentity):
        if not isinstance(state, Linked) or state.user != command.user:
            raise IdentityNotFound
        return [IdentityUnlinked(identity=command.identity, user=command.user)]
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


def evolve(_: State, event: IdentityEvent) -> State:
    """The state after an event."""
    return Linked(event.user) if isinstance(event, IdentityLinked) else Unlinked()
