"""Who is asking: the one place where a credential becomes a principal, folded from auth's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import structlog

from remote_claude.access import api_keys
from remote_claude.access.scopes import allows
from remote_claude.contracts import UndecodableEvent, UnknownVersion
from remote_claude.contracts.auth import ApiKeyIssued, ApiKeyRevoked
from remote_claude.eventsourcing.events import Clock, RecordedEvent, parse_timestamp
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.tail import Tail

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who may act for one organisation."""

    org: str
    user: str
    key: str
    scopes: frozenset[str]


class NotAdmitted(Exception):
    """Somebody may not do what they ask for. The message says why, and what to do; `status` is the one of HTTP."""

    code: ClassVar[str]
    status: ClassVar[int]


class Unauthenticated(NotAdmitted):
    """The credential is missing, malformed, unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401


class ScopeMissing(NotAdmitted):
    """The key is good, but not for this."""

    code = "scope_missing"
    status = 403

    def __init__(self, needed: str, given: frozenset[str]) -> None:
        has = ", ".join(sorted(given)) or "none"
        super().__init__(
            f"This needs the scope `{needed}`; the key has: {has}. Use a key that was issued with it."
        )


class Verifier:
    """Keeps the hashes of all live API keys in memory. `run` follows the log, so that a revocation applies at once."""

    def __init__(self, log: EventLog, tail: Tail, clock: Clock) -> None:
        self._log, self._tail, self._clock = log, tail, clock
        self._principals: dict[str, tuple[Principal, datetime | None]] = {}
        self._hashes: dict[str, str] = {}
        self._position = 0

    async def load(self) -> None:
        """Fold what auth has said so far."""
        self._position = await self._log.last_position()
        async for batch in self._log.read(until=self._position, subjects="ev.auth.>"):
            self.fold(batch)

    async def run(self) -> None:
        """Fold what auth says from now on; never ends by itself."""
        async for batch in self._tail.subscribe(after=self._position):
            self.fold(batch)
            self._position = batch[-1].position

    def fold(self, batch: Sequence[RecordedEvent]) -> None:
        """Apply what auth says of keys, pass over all else. A key of which something can't be read is good no more."""
        for recorded in batch:
            if recorded.type == ApiKeyRevoked.type:
                self._revoke(recorded.aggregate_id)
            elif recorded.type == ApiKeyIssued.type:
                try:
                    self._issue(recorded.event)
                except (UnknownVersion, UndecodableEvent) as error:
                    log.error("an API key can't be read", recorded=repr(recorded), detail=str(error))
                    self._revoke(recorded.aggregate_id)

    def _issue(self, issued: ApiKeyIssued) -> None:
        principal = Principal(
            org=issued.org, user=issued.user, key=issued.key, scopes=frozenset(issued.scopes)
        )
        expires = parse_timestamp(issued.expires_at) if issued.expires_at else None
        self._principals[issued.hash] = principal, expires
        self._hashes[issued.key] = issued.hash

    def _revoke(self, key: str) -> None:
        if (hash_ := self._hashes.pop(key, None)) is not None:
            del self._principals[hash_]

    def admit(self, authorization: str | None, scope: str) -> Principal:
        """The principal behind an `Authorization` header, who may do what needs `scope`. Raises `NotAdmitted`."""
        principal = self.verify(authorization)
        if not allows(principal.scopes, scope):
            raise ScopeMissing(scope, principal.scopes)
        return principal

    def verify(self, authorization: str | None) -> Principal:
        """The principal behind an `Authorization` header. Raises `Unauthenticated`."""
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Send an API key as `Authorization: Bearer rck_...`.")
        if not api_keys.is_well_formed(token):
            raise Unauthenticated("This is not an API key: it is mistyped or cut off.")
        known = self._principals.get(api_keys.digest(token))
        if known is None:
            raise Unauthenticated("This API key is unknown here, or it has been revoked.")
        principal, expires = known
        if expires is not None and expires <= self._clock():
            raise Unauthenticated("This API key has expired.")
        return principal
