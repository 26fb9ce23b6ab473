"""How many members the plan of an organisation allows."""

from __future__ import annotations

from remote_claude.contracts.billing import PlanChanged
from remote_claude.eventsourcing import Clock, EventLog, stream_id, timestamp


class Seats:
    """Reads the plan off billing's events: an invitation is rare, and what it reads is exact."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log, self._clock = log, clock

    async def of(self, org: str) -> int | None:
        """The number of members that the plan in force allows; None: any number, as without a plan."""
        now, allowed = timestamp(self._clock()), None
        for recorded in await self._log.read_stream(stream_id("billing", org, "account", org)):
            if recorded.type == PlanChanged.type:
                changed: PlanChanged = recorded.event
                if changed.effective_at is None or changed.effective_at <= now:
                    allowed = changed.entitlements.members
        return allowed
