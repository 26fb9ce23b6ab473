"""Erases organisations that were deleted and did not come back in time."""

from __future__ import annotations

import asyncio

from remote_claude.eventsourcing.events import timestamp
from remote_claude.runtime.service import Runtime
from remote_claude.users.handlers import Directory
from remote_claude.users.projections import directory as view

LOOKS_S = 600.0


class Erasures:
    """Looks again and again for what is to be erased. Every process may: what is erased already stays so."""

    def __init__(self, runtime: Runtime, directory: Directory) -> None:
        self._runtime, self._directory = runtime, directory

    async def run(self) -> None:
        """Never ends by itself."""
        while True:
            await asyncio.sleep(LOOKS_S)
            await self.erase_due()

    async def erase_due(self) -> None:
        """Erase what is due now."""
        now = timestamp(self._runtime.clock())
        for org in await view.to_erase(self._runtime.pool, now):
            await self._directory.erase_org(org, now)
