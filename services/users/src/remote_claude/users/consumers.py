"""What users reads off the log, besides its view: who has signed in for the first time."""

from __future__ import annotations

import structlog

from remote_claude.access.keyring import KeyErased
from remote_claude.access.verifier import Verifier
from remote_claude.contracts import UndecodableEvent, UnknownVersion
from remote_claude.contracts.auth import IdentityLinked
from remote_claude.contracts.users import (
    ModelChosen,
    MonthlyBudgetSet,
    OrgPolicySet,
    SecretRemoved,
    SecretStored,
)
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.broker.uses import Use
from remote_claude.users.handlers import Directory
from remote_claude.users.projections.audit import AuditView
from remote_claude.users.projections.directory import DirectoryView
from remote_claude.users.projections.tickets import TicketsView

log = structlog.get_logger(__name__)

READS = (
    DirectoryView.handles
    | AuditView.handles
    | TicketsView.handles
    | {
        IdentityLinked.type,
        SecretStored.type,
        SecretRemoved.type,
        ModelChosen.type,
        OrgPolicySet.type,
        MonthlyBudgetSet.type,
    }
)
"""The events that users reads."""

USES: frozenset[Use] = frozenset({Use.WRITE_KEYS})
"""What users uses of the broker besides the log."""


class Registrations:
    """Registers people at their first sign-in, each with a personal organisation. Every step is guarded: once is enough."""

    def __init__(self, log: EventLog, tail: Tail, verifier: Verifier, directory: Directory) -> None:
        self._log, self._tail, self._verifier, self._directory = log, tail, verifier, directory

    async def run(self) -> None:
        """Catch up with what was linked while no process of this service ran, then follow. Never ends by itself."""
        position = await self._log.last_position()
        async for batch in self._log.read(until=position, subjects="ev.auth._.identity.>"):
            for recorded in batch:
                await self._handle(recorded)
        async for batch in self._tail.subscribe(after=position):
            for recorded in batch:
                if recorded.type == IdentityLinked.type:
                    await self._handle(recorded)

    async def _handle(self, recorded: RecordedEvent) -> None:
        try:
            linked: IdentityLinked = recorded.event
            if not self._verifier.memberships.of(linked.user):
                await self._directory.welcome(linked)
        except (UnknownVersion, UndecodableEvent) as error:
            log.error("an identity can't be read", recorded=repr(recorded), detail=str(error))
        except KeyErased:
            log.info("a person was erased before they were registered", recorded=repr(recorded))
