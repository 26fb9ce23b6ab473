"""Load, decide, append; try again on a conflict."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from remote_claude.access import secrets
from remote_claude.access.keyring import Keyring
from remote_claude.access.scopes import ORG_SCOPES
from remote_claude.auth.domain import keys, sessions
from remote_claude.auth.domain.keys import IssueKey, RevokeKey
from remote_claude.auth.domain.sessions import OpenSession, RefreshSession, RevokeSession, SessionEnded
from remote_claude.contracts.auth import RevocationReason, SessionKind, SessionRevoked, SignInMethod
from remote_claude.contracts.contexts import session_client_context
from remote_claude.eventsourcing import (
    Clock,
    CommandHandler,
    Decider,
    EventLog,
    NewEventId,
    new_event_id,
    stream_id,
    timestamp,
)

BROWSER_LASTS = timedelta(days=30)
CLI_LASTS = timedelta(days=90)
"""How long a session of the CLI may rest between two uses."""


class Aggregates:
    """Handles a command on one aggregate."""

    def __init__(self, log: EventLog, clock: Clock, event_id: NewEventId = new_event_id) -> None:
        self.clock, self._handler = clock, CommandHandler(log, clock, event_id)

    async def handle(
        self,
        stream: str,
        decide: Callable[[Any], Sequence[Any]],
        evolve: Callable[[Any, Any], Any],
        state: Any,
    ) -> tuple[Sequence[Any], int]:
        """Returns the events that were recorded, and the position of the aggregate. Raises what `decide` raises."""
        decider = Decider[None, Any](state, lambda _, now: decide(now), evolve)
        handled = await self._handler.handle(decider, stream, None)
        return handled.events, handled.position


class ApiKeys:
    """Commands on API keys."""

    def __init__(self, log: EventLog, clock: Clock, event_id: NewEventId = new_event_id) -> None:
        self._aggregates = Aggregates(log, clock, event_id)

    async def issue(
        self, *, key: str, org: str, user: str, secret: str, scopes: tuple[str, ...] = ORG_SCOPES
    ) -> int:
        """Let `secret` act for the organisation; only its hash is recorded. Returns the position. Raises `UnknownScope`."""
        command = IssueKey(
            key=key,
            org=org,
            user=user,
            prefix=secret[: secrets.SHOWN],
            hash=secrets.digest(secret),
            scopes=scopes,
        )
        return await self._handle(command)

    async def revoke(self, *, key: str, org: str, reason: str) -> int:
        """Refuse the key from here on. Raises `KeyNotFound`."""
        return await self._handle(RevokeKey(key=key, org=org, reason=reason))

    async def _handle(self, command: keys.Command) -> int:
        _, position = await self._aggregates.handle(
            stream_id("auth", command.org, "key", command.key),
            lambda state: keys.decide(command, state),
            keys.evolve,
            keys.initial_state,
        )
        return position


@dataclass(frozen=True, slots=True)
class Client:
    """The program that signs in, and from where. Both are personal data."""

    address: str
    agent: str

    def to_json(self) -> str:
        """What is sealed."""
        return json.dumps({"address": self.address, "agent": self.agent[:200]})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A new session; `secret` is its cookie or its refresh token, and stands nowhere else."""

    session: str
    secret: str
    position: int


class Sessions:
    """Commands on sessions."""

    def __init__(
        self, log: EventLog, keyring: Keyring, clock: Clock, event_id: NewEventId = new_event_id
    ) -> None:
        self._aggregates = Aggregates(log, clock, event_id)
        self._keyring, self._clock = keyring, clock

    async def open(
        self,
        *,
        session: str,
        user: str,
        kind: SessionKind,
        method: SignInMethod,
        scopes: tuple[str, ...],
        client: Client,
    ) -> Opened:
        """Open a session under an id that was chosen before. Raises `SignInUsed` for one that has been used."""
        browser = kind == "browser"
        secret = secrets.generate(secrets.SESSION if browser else secrets.REFRESH)
        key = await self._keyring.get(user)
        command = OpenSession(
            session=session,
            user=user,
            kind=kind,
            method=method,
            hash=secrets.digest(secret),
            scopes=scopes,
            expires_at=timestamp(self._clock() + (BROWSER_LASTS if browser else CLI_LASTS)),
            client=key.seal(client.to_json(), session_client_context(session)),
        )
        _, position = await self._handle(command)
        return Opened(session=session, secret=secret, position=position)

    async def refresh(self, session: str, token: str) -> Opened:
        """Take a refresh token and give the next. Raises `SessionEnded`; a used token ends the session."""
        secret = secrets.generate(secrets.REFRESH)
        command = RefreshSession(
            session=session,
            presented=secrets.digest(token),
            hash=secrets.digest(secret),
            now=timestamp(self._clock()),
            expires_at=timestamp(self._clock() + CLI_LASTS),
        )
        events, position = await self._handle(command)
        if any(isinstance(event, SessionRevoked) for event in events):
            raise SessionEnded
        return Opened(session=session, secret=secret, position=position)

    async def revoke(self, session: str, user: str, reason: RevocationReason) -> int:
        """End a session. Returns the position. Raises `SessionNotFound`."""
        _, position = await self._handle(RevokeSession(session=session, user=user, reason=reason))
        return position

    async def _handle(self, command: sessions.Command) -> tuple[Sequence[Any], int]:
        return await self._aggregates.handle(
            stream_id("auth", None, "session", command.session),
            lambda state: sessions.decide(command, state),
            sessions.evolve,
            sessions.initial_state,
        )
