"""Load, decide, append; try again when somebody else was faster."""

from __future__ import annotations

from remote_claude.access import secrets
from remote_claude.access.scopes import ORG_SCOPES
from remote_claude.auth.domain.keys import Command, IssueKey, RevokeKey, decide, fold
from remote_claude.eventsourcing.events import Clock, NewEvent, NewEventId, new_event_id, stream_id, timestamp
from remote_claude.eventsourcing.log import ConcurrencyConflict, EventLog


class ApiKeys:
    """Commands on API keys."""

    def __init__(self, log: EventLog, clock: Clock, event_id: NewEventId = new_event_id) -> None:
        self._log, self._clock, self._event_id = log, clock, event_id

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

    async def _handle(self, command: Command) -> int:
        stream = stream_id("auth", command.org, "key", command.key)
        while True:
            history = await self._log.read_stream(stream)
            position = history[-1].position if history else 0
            events = decide(command, fold([recorded.event for recorded in history]))
            if not events:
                return position
            now = timestamp(self._clock())
            new = [NewEvent(event=event, event_id=self._event_id(), occurred_at=now) for event in events]
            try:
                return await self._log.append(stream, new, expected_position=position)
            except ConcurrencyConflict:
                continue
