"""Commands on people and organisations. Data keys are made before the first event that needs them, and outside the log."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from remote_claude.access.keyring import Keyring
from remote_claude.contracts.auth import IdentityLinked
from remote_claude.contracts.contexts import name_context
from remote_claude.contracts.users import (
    MemberInvited,
    ProfileChanged,
    StackConfigured,
    StackRemoved,
    TicketOpened,
    UserErased,
    UserRegistered,
)
from remote_claude.eventsourcing import (
    Clock,
    CommandHandler,
    Decider,
    EventLog,
    NewEventId,
    new_event_id,
    stream_id,
)
from remote_claude.runtime.ids import derived_id, is_id
from remote_claude.users.domain import service_accounts, tickets
from remote_claude.users.domain.commands import Command, CreateOrg, EraseMember, EraseOrg, SendInvitationAgain
from remote_claude.users.domain.organisation import OwnsOrganisations, decide, evolve, initial_state
from remote_claude.users.domain.service_accounts import ServiceAccountEvent

StackEvent = StackConfigured | StackRemoved

PERSONAL_ORGS = UUID("5a1f5b0c-6f0e-5a53-9d35-0c6f4b5e7d21")
"""The id of a personal organisation derives from its person's."""

ORGANISATION = Decider(initial_state, decide, evolve)
ERASURE = Decider[UserErased, bool](
    False,
    lambda event, erased: [] if erased else [event],
    lambda erased, event: erased or isinstance(event, UserErased),
)
PROFILE = Decider[ProfileChanged, bool](
    False,
    lambda event, erased: [] if erased else [event],
    lambda erased, event: erased or isinstance(event, UserErased),
)
PERSON = Decider[UserRegistered, bool](
    False, lambda event, registered: [] if registered else [event], lambda *_: True
)

STACK = Decider[StackEvent, StackEvent | None](
    None, lambda event, last: [] if event == last else [event], lambda _, event: event
)
TICKET = Decider(tickets.initial_state, tickets.decide, tickets.evolve)
SERVICE_ACCOUNT = Decider(service_accounts.initial_state, service_accounts.decide, service_accounts.evolve)


class Directory:
    """Commands on people and organisations."""

    def __init__(
        self, log: EventLog, keyring: Keyring, clock: Clock, event_id: NewEventId = new_event_id
    ) -> None:
        self._keyring, self._handler = keyring, CommandHandler(log, clock, event_id)

    async def welcome(self, linked: IdentityLinked) -> None:
        """Register the person of a new identity, and create their personal organisation. Raises `KeyErased`."""
        registered = UserRegistered(user=linked.user, name=linked.name, email=linked.email)
        await self._handler.handle(PERSON, _person(linked.user), registered)
        name = await self._keyring.open(linked.name, name_context(linked.user))
        org = derived_id("org", PERSONAL_ORGS, linked.user)
        await self.create_org(org, f"{name}'s organisation", linked.user, personal=True)

    async def register(self, user: str, name: str) -> None:
        """Register a person, once."""
        registered, _ = await self._handler.load(PERSON, _person(user))
        if registered:
            return  # makes no key
        key = await self._keyring.create(user)
        event = UserRegistered(user=user, name=key.seal(name, name_context(user)))
        await self._handler.handle(PERSON, _person(user), event)

    async def rename_person(self, user: str, name: str) -> int:
        """Give a person another name. Returns the position. Raises `KeyErased`."""
        key = await self._keyring.get(user)
        event = ProfileChanged(user=user, name=key.seal(name, name_context(user)))
        return (await self._handler.handle(PROFILE, _person(user), event)).position

    async def create_org(self, org: str, name: str, owner: str, *, personal: bool = False) -> int:
        """Create an organisation, once. Returns the position of its last event."""
        key = await self._keyring.create(org)
        sealed = key.seal(name, name_context(org))
        return await self.handle(CreateOrg(org=org, name=sealed, owner=owner, personal=personal))

    async def invite_again(self, command: SendInvitationAgain) -> MemberInvited:
        """Give an invitation another secret; returns its event. Raises what `decide` raises."""
        stream = stream_id("users", command.org, "org", command.org)
        invited = (await self._handler.handle(ORGANISATION, stream, command)).events[-1]
        assert isinstance(invited, MemberInvited)
        return invited

    async def service_account(self, event: ServiceAccountEvent) -> int:
        """Create or remove a service account. Returns the position. Raises `ServiceAccountNotFound`."""
        stream = stream_id("users", event.org, "service_account", event.service_account)
        return (await self._handler.handle(SERVICE_ACCOUNT, stream, event)).position

    async def stack(self, event: StackEvent) -> int:
        """Record how a dedicated stack is set up, or that it is gone. Returns the position."""
        stream = stream_id("users", event.org, "stack", event.stack)
        return (await self._handler.handle(STACK, stream, event)).position

    async def erase_person(self, user: str, orgs: Sequence[str], now: str) -> int:
        """Erase a person: from here on nothing that their data key sealed can be read. Returns the position.

        `orgs` are the organisations that they are in. Raises `OwnsOrganisations`.
        """
        alone = []
        for org in orgs:
            state, _ = await self._handler.load(ORGANISATION, stream_id("users", org, "org", org))
            if state.owned_alone_by(user):
                alone.append(org)
        if alone:
            raise OwnsOrganisations(alone)
        handled = await self._handler.handle(ERASURE, _person(user), UserErased(user=user))
        await self.finish_erasure(user, orgs, now)
        return handled.position

    async def finish_erasure(self, user: str, orgs: Sequence[str], now: str) -> None:
        """Do what follows from `UserErased`. Doing it again changes nothing; the data key of the person goes last."""
        for org in orgs:
            stream = stream_id("users", org, "org", org)
            await self._handler.handle(ORGANISATION, stream, EraseMember(org=org, user=user, now=now))
            state, _ = await self._handler.load(ORGANISATION, stream)
            if state.erased:
                await self._keyring.erase(org)
        await self._keyring.erase(user)

    async def erase_org(self, org: str, now: str) -> None:
        """Record that an organisation is erased, where its time has come, and delete its data key."""
        stream = stream_id("users", org, "org", org)
        await self._handler.handle(ORGANISATION, stream, EraseOrg(org=org, now=now))
        state, _ = await self._handler.load(ORGANISATION, stream)
        if state.erased:
            await self._keyring.erase(org)

    async def handle(self, command: Command) -> int:
        """Decide on an organisation. Returns the position of its last event. Raises what `decide` raises."""
        stream = stream_id("users", command.org, "org", command.org)
        return (await self._handler.handle(ORGANISATION, stream, command)).position


def _person(user: str) -> str:
    return stream_id("users", None, "user", user)


class TicketHandlers:
    """Commands on tickets."""

    def __init__(self, log: EventLog, clock: Clock, event_id: NewEventId = new_event_id) -> None:
        self._handler = CommandHandler(log, clock, event_id)

    async def opened(self, org: str, ticket: str) -> TicketOpened | None:
        """How a ticket was opened; None where the organisation has no such ticket."""
        if not is_id("ticket", ticket):
            return None
        state, _ = await self._handler.load(TICKET, stream_id("users", org, "ticket", ticket))
        return state.opened

    async def handle(self, command: tickets.Command) -> int:
        """Decide on a ticket. Returns the position of its last event. Raises what `decide` raises."""
        stream = stream_id("users", command.org, "ticket", command.ticket)
        return (await self._handler.handle(TICKET, stream, command)).position
