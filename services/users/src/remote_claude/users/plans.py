"""What the plan of an organisation allows."""

from __future__ import annotations

from remote_claude.contracts.billing import Entitlements, PlanChanged
from remote_claude.eventsourcing import Clock, EventLog, stream_id, timestamp


class Plans:
    """Reads the plan off billing's events: invitations and tickets are rare, and what it reads is exact."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log, self._clock = log, clock

    async def of(self, org: str) -> Entitlements | None:
        """What the plan in force allows; None where there is no plan."""
        now, allowed = timestamp(self._clock()), None
        for recorded in await self._log.read_stream(stream_id("billing", org, "account", org)):
            if recorded.type == PlanChanged.type:
                changed: PlanChanged = recorded.event
                if changed.effective_at is None or changed.effective_at <= now:
                    allowed = changed.entitlements
        return allowed
