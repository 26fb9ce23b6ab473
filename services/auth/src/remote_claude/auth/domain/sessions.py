"""A session: opened by a sign-in, refreshed by the CLI, revoked at most once.

A refresh token is good once. One that is used again was copied, by the thief or by the owner: the session ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from remote_claude.contracts.auth import (
    RevocationReason,
    SessionKind,
    SessionOpened,
    SessionRefreshed,
    SessionRevoked,
    SignInMethod,
)
from remote_claude.contracts.base import Sealed
from remote_claude.contracts.refusals import Refusal

SessionEvent = SessionOpened | SessionRefreshed | SessionRevoked


class SessionNotFound(Refusal):
    """Unknown, or another person's: nobody can tell which."""

    code = "session_not_found"
    status = 404

    def __init__(self, session: str) -> None:
        super().__init__(f"There is no session {session[:64]!r}. `GET /v1/sessions` lists yours.")


class SignInUsed(Refusal):
    """A link or a code opens one session, once."""

    code = "sign_in_used"
    status = 410

    def __init__(self) -> None:
        super().__init__("This link or code has been used. Start the sign-in again.")


class SessionEnded(Refusal):
    """The refresh token was revoked, used or has expired."""

    code = "session_ended"
    status = 401

    def __init__(self) -> None:
        super().__init__("This session has ended. Sign in again: `rclaude login`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    session: str
    user: str
    kind: SessionKind
    method: SignInMethod
    hash: str
    scopes: tuple[str, ...]
    expires_at: str
    client: Sealed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshSession:
    """`presented` is the hash of the token that was shown, `hash` that of the next one."""

    session: str
    presented: str
    hash: str
    now: str
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeSession:
    session: str
    user: str
    reason: RevocationReason


Command = OpenSession | RefreshSession | RevokeSession


@dataclass(frozen=True, slots=True)
class NoSession:
    """There is no such session."""


@dataclass(frozen=True, slots=True)
class ActiveSession:
    """`hash` is that of the token or cookie that is good now, `used` those of refresh tokens before it."""

    user: str
    hash: str
    expires_at: str
    used: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RevokedSession:
    """It has ended."""

    user: str


State = NoSession | ActiveSession | RevokedSession

initial_state: State = NoSession()


def decide(command: Command, state: State) -> list[SessionEvent]:
    """What is recorded. A used refresh token revokes: the caller sees by the event that it was refused.

    Raises `SignInUsed`, `SessionEnded`, `SessionNotFound`.
    """
    match command:
        case OpenSession():
            if not isinstance(state, NoSession):
                raise SignInUsed
            return [
                SessionOpened(
                    session=command.session,
                    user=command.user,
                    kind=command.kind,
                    method=command.method,
                    hash=command.hash,
                    scopes=command.scopes,
                    expires_at=command.expires_at,
                    client=command.client,
                )
            ]
        case RefreshSession():
            return _refresh(command, state)
        case RevokeSession():
            if isinstance(state, NoSession) or state.user != command.user:
                raise SessionNotFound(command.session)
            if isinstance(state, RevokedSession):
                return []
            return [SessionRevoked(session=command.session, user=state.user, reason=command.reason)]
        case _:
            assert_never(command)


def _refresh(command: RefreshSession, state: State) -> list[SessionEvent]:
    if not isinstance(state, ActiveSession):
        raise SessionEnded
    if command.presented in state.used:
        return [SessionRevoked(session=command.session, user=state.user, reason="token_reused")]
    if command.presented != state.hash or state.expires_at <= command.now:
        raise SessionEnded
    refreshed = SessionRefreshed(
        session=command.session, user=state.user, hash=command.hash, expires_at=command.expires_at
    )
    return [refreshed]


def evolve(state: State, event: SessionEvent) -> State:
    """The state after an event."""
    match event:
        case SessionOpened():
            return ActiveSession(event.user, event.hash, event.expires_at)
        case SessionRefreshed():
            if not isinstance(state, ActiveSession):
                return state
            return replace(
                state, hash=event.hash, expires_at=event.expires_at, used=state.used | {state.hash}
            )
        case SessionRevoked():
            return RevokedSession(event.user)
        case _:
            assert_never(event)
