"""Erases organisations that were deleted and did not come back in time, and brings erasures of people to their end."""

from __future__ import annotations

import asyncio

from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.users import UserErased
from remote_claude.eventsourcing.events import timestamp
from remote_claude.runtime.service import Runtime
from remote_claude.users.handlers import Directory
from remote_claude.users.projections import directory as view

POLL_S = 600.0


class Erasures:
    """Looks periodically for what is to be erased. Every process does so: to erase twice changes nothing."""

    def __init__(self, runtime: Runtime, directory: Directory) -> None:
        self._runtime, self._directory = runtime, directory

    async def run(self) -> None:
        """Never ends by itself."""
        await self.finish()
        while True:
            await asyncio.sleep(POLL_S)
            await self.erase_due()

    async def finish(self) -> None:
        """Bring to its end what a process began that was killed meanwhile: the data key of the person is still there."""
        runtime = self._runtime
        last = await runtime.log.last_position()
        async for batch in runtime.log.read(until=last, subjects="ev.users._.user.>"):
            for recorded in batch:
                if recorded.type == UserErased.type and await self._has_key(recorded.aggregate_id):
                    user, now = recorded.aggregate_id, timestamp(runtime.clock())
                    await self._directory.finish_erasure(user, runtime.verifier.memberships.joined(user), now)

    async def _has_key(self, user: str) -> bool:
        try:
            await self._runtime.keyring.get(user)
        except KeyErased:
            return False
        return True

    async def erase_due(self) -> None:
        """Erase what is due now."""
        now = timestamp(self._runtime.clock())
        for org in await view.to_erase(self._runtime.pool, now):
            await self._directory.erase_org(org, now)
