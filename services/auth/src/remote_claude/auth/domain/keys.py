"""An API key: issued once, revoked at most once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from remote_claude.access.scopes import ORG_SCOPES, SCOPES
from remote_claude.contracts.auth import ApiKeyIssued, ApiKeyRevoked
from remote_claude.contracts.refusals import Refusal

KeyEvent = ApiKeyIssued | ApiKeyRevoked
State = Literal["unknown", "live", "revoked"]

initial_state: State = "unknown"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeKey:
    key: str
    org: str
    reason: str


Command = IssueKey | RevokeKey


def decide(command: Command, state: State) -> list[KeyEvent]:
    """What follows from a command; what is so already follows in nothing. Raises `KeyNotFound`, `UnknownScope`."""
    match command:
        case IssueKey():
            if state != "unknown":
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
                )
            ]
        case RevokeKey():
            if state == "unknown":
                raise KeyNotFound(f"there is no key {command.key} of {command.org}")
            if state == "revoked":
                return []
            return [ApiKeyRevoked(key=command.key, org=command.org, reason=command.reason)]
        case _:
            assert_never(command)


def evolve(_: State, event: KeyEvent) -> State:
    match event:
        case ApiKeyIssued():
            return "live"
        case ApiKeyRevoked():
            return "revoked"
        case _:
            assert_never(event)


def fold(events: Sequence[KeyEvent]) -> State:
    """The state after these events."""
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state
