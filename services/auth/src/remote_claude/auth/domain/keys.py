"""An API key: issued once, revoked at most once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import assert_never

from remote_claude.access.scopes import ORG_SCOPES, SCOPES
from remote_claude.contracts.auth import ApiKeyIssued, ApiKeyRevoked, ApiKeyUsed
from remote_claude.contracts.base import Sealed
from remote_claude.contracts.refusals import Refusal
from remote_claude.eventsourcing.events import parse_timestamp

KeyEvent = ApiKeyIssued | ApiKeyRevoked | ApiKeyUsed
NOTED_AGAIN_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no such key."""


@dataclass(frozen=True, slots=True)
class ActiveKey:
    """It is good. `used_at` is its last use on record."""

    user: str
    used_at: str | None = None


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """It was good."""


State = Unknown | ActiveKey | RevokedKey

initial_state: State = Unknown()


class KeyNotFound(Refusal):
    """There is no such key."""

    code = "key_not_found"
    status = 404


class UnknownScope(Refusal):
    """Nothing is allowed by such a scope."""

    code = "unknown_scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueKey:
    key: str
    org: str
    user: str
    prefix: str
    hash: str
    scopes: tuple[str, ...] = ORG_SCOPES
    expires_at: str | None = None
    name: Sealed | None = None
    issued_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeKey:
    """`owner`: only if the key is of this person."""

    key: str
    org: str
    reason: str
    owner: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteUse:
    """`at` is RFC 3339, UTC."""

    key: str
    org: str
    at: str


Command = IssueKey | RevokeKey | NoteUse


def decide(command: Command, state: State) -> list[KeyEvent]:
    """The events of a command; none where nothing changes. Raises `KeyNotFound`, `UnknownScope`."""
    match command:
        case IssueKey():
            if not isinstance(state, Unknown):
                return []
            if unknown := sorted(set(command.scopes) - SCOPES.keys()):
                raise UnknownScope(f"there is no scope {unknown[0]!r}; there are: {', '.join(SCOPES)}")
            return [
                ApiKeyIssued(
                    key=command.key,
                    org=command.org,
                    user=command.user,
                    prefix=command.prefix,
                    hash=command.hash,
                    scopes=command.scopes,
                    expires_at=command.expires_at,
                    name=command.name,
                    issued_by=command.issued_by,
                )
            ]
        case RevokeKey():
            of_another = isinstance(state, ActiveKey) and command.owner not in (None, state.user)
            if isinstance(state, Unknown) or of_another:
                raise KeyNotFound(f"there is no key {command.key} of {command.org}")
            if isinstance(state, RevokedKey):
                return []
            return [ApiKeyRevoked(key=command.key, org=command.org, reason=command.reason)]
        case NoteUse(at=at):
            if not isinstance(state, ActiveKey):
                return []
            last = state.used_at
            if last is not None and parse_timestamp(at) - parse_timestamp(last) < NOTED_AGAIN_AFTER:
                return []
            return [ApiKeyUsed(key=command.key, org=command.org, used_at=at)]
        case _:
            assert_never(command)


def evolve(state: State, event: KeyEvent) -> State:
    match event:
        case ApiKeyIssued():
            return ActiveKey(event.user)
        case ApiKeyRevoked():
            return RevokedKey()
        case ApiKeyUsed():
            return replace(state, used_at=event.used_at) if isinstance(state, ActiveKey) else state
        case _:
            assert_never(event)


def fold(events: Sequence[KeyEvent]) -> State:
    """The state after these events."""
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state
