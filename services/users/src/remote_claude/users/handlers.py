"""Commands on people and organisations. Data keys are made before the first event that needs them, and outside the log."""

from __future__ import annotations

from remote_claude.access.keyring import Keyring
from remote_claude.contracts.contexts import name_context
from remote_claude.contracts.users import UserRegistered
from remote_claude.eventsourcing import (
    Clock,
    CommandHandler,
    Decider,
    EventLog,
    NewEventId,
    new_event_id,
    stream_id,
)
from remote_claude.users.domain.organisation import CreateOrg, decide, evolve, initial_state

ORGANISATION = Decider(initial_state, decide, evolve)
PERSON = Decider[UserRegistered, bool](
    False, lambda event, registered: [] if registered else [event], lambda *_: True
)


class Directory:
    """Commands on people and organisations."""

    def __init__(
        self, log: EventLog, keyring: Keyring, clock: Clock, event_id: NewEventId = new_event_id
    ) -> None:
        self._keyring, self._handler = keyring, CommandHandler(log, clock, event_id)

    async def register(self, user: str, name: str) -> None:
        """Register a person, once."""
        stream = stream_id("users", None, "user", user)
        registered, _ = await self._handler.load(PERSON, stream)
        if registered:
            return  # makes no key
        key = await self._keyring.create(user)
        event = UserRegistered(user=user, name=key.seal(name, name_context(user)))
        await self._handler.handle(PERSON, stream, event)

    async def create_org(self, org: str, name: str, owner: str) -> None:
        """Create an organisation, once."""
        key = await self._keyring.create(org)
        command = CreateOrg(org=org, name=key.seal(name, name_context(org)), owner=owner)
        await self._handler.handle(ORGANISATION, stream_id("users", org, "org", org), command)
