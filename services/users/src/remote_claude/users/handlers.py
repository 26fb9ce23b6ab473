"""Load, decide, append. Data keys are made before the first event that needs them, and outside the log."""

from __future__ import annotations

from collections.abc import Sequence

from remote_claude.access.keyring import Keyring
from remote_claude.contracts import Event
from remote_claude.contracts.contexts import name_context
from remote_claude.contracts.users import UserRegistered
from remote_claude.eventsourcing.events import Clock, NewEvent, NewEventId, new_event_id, stream_id, timestamp
from remote_claude.eventsourcing.log import ConcurrencyConflict, EventLog
from remote_claude.users.domain.organisation import CreateOrg, decide, fold


class Directory:
    """Commands on people and organisations."""

    def __init__(
        self, log: EventLog, keyring: Keyring, clock: Clock, event_id: NewEventId = new_event_id
    ) -> None:
        self._log, self._keyring, self._clock, self._event_id = log, keyring, clock, event_id

    async def register(self, user: str, name: str) -> None:
        """Register a person, once."""
        stream = stream_id("users", None, "user", user)
        if await self._log.read_stream(stream):
            return
        key = await self._keyring.create(user)
        registered = UserRegistered(user=user, name=key.seal(name, name_context(user)))
        try:
            await self._append(stream, [registered], 0)
        except ConcurrencyConflict:
            return  # registered by another process of this service

    async def create_org(self, org: str, name: str, owner: str) -> None:
        """Found an organisation, once."""
        stream = stream_id("users", org, "org", org)
        while True:
            history = await self._log.read_stream(stream)
            key = await self._keyring.create(org)
            command = CreateOrg(org=org, name=key.seal(name, name_context(org)), owner=owner)
            events = decide(command, fold([recorded.event for recorded in history]))
            if not events:
                return
            try:
                await self._append(stream, events, history[-1].position if history else 0)
            except ConcurrencyConflict:
                continue
            return

    async def _append(self, stream: str, events: Sequence[Event], expected_position: int) -> None:
        now = timestamp(self._clock())
        new = [NewEvent(event=event, event_id=self._event_id(), occurred_at=now) for event in events]
        await self._log.append(stream, new, expected_position=expected_position)
