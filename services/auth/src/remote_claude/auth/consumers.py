"""What auth reads off the log, besides its view: who has been erased."""

from __future__ import annotations

from remote_claude.auth.domain.identities import IdentityNotFound
from remote_claude.auth.handlers import Identities
from remote_claude.auth.projections.credentials import CredentialsView
from remote_claude.contracts.auth import IdentityLinked
from remote_claude.contracts.users import UserErased
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.broker.uses import Use

READS: frozenset[str] = CredentialsView.handles
"""The events that auth reads."""

USES: frozenset[Use] = frozenset({Use.WRITE_KEYS, Use.TAKE_USED_KEYS})
"""What auth uses of the broker besides the log."""


class IdentityErasures:
    """Unlinks the accounts of people who have been erased: who signs in with one of them is a new person."""

    def __init__(self, log: EventLog, tail: Tail, identities: Identities) -> None:
        self._log, self._tail, self._identities = log, tail, identities

    async def run(self) -> None:
        """Catch up with who was erased while no process of this service ran, then follow. Never ends by itself."""
        position = await self._log.last_position()
        erased = set()
        async for batch in self._log.read(until=position, subjects="ev.users._.user.>"):
            erased |= {recorded.aggregate_id for recorded in batch if recorded.type == UserErased.type}
        await self._unlink(erased)
        async for batch in self._tail.subscribe(after=position):
            await self._unlink({r.aggregate_id for r in batch if r.type == UserErased.type})

    async def _unlink(self, users: set[str]) -> None:
        if not users:
            return
        last = await self._log.last_position()
        async for batch in self._log.read(until=last, subjects="ev.auth._.identity.>"):
            for recorded in batch:
                if recorded.type != IdentityLinked.type or recorded.event.user not in users:
                    continue
                try:
                    await self._identities.unlink(recorded.aggregate_id, recorded.event.user)
                except IdentityNotFound:
                    continue  # it was unlinked before
