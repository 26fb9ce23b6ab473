"""What the routes of users share."""

from __future__ import annotations

from enum import Enum

from remote_claude.access.keyring import KeyErased
from remote_claude.contracts import Sealed
from remote_claude.edge.freshness import Freshness
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import OrgChanged
from remote_claude.users.projections.directory import DirectoryView

KNOWN_WITHIN_S = 5.0
TAGS: list[str | Enum] = ["organisations"]


class Support:
    """How fresh reads are, how a change is answered, and how what is sealed is opened."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.fresh = Freshness(runtime.tail, lambda: runtime.projectors[DirectoryView.name])

    async def changed(self, org: str, position: int) -> OrgChanged:
        """The answer to a change, once every check of a credential in this process knows it."""
        await self._runtime.verifier.wait_for(position, KNOWN_WITHIN_S)
        return OrgChanged(id=org, position=position)

    async def open(self, sealed: Sealed | None, context: str) -> str | None:
        """The text; None for what has been erased."""
        try:
            return await self._runtime.keyring.open(sealed, context) if sealed else None
        except KeyErased:
            return None
