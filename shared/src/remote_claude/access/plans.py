"""What the plan of an organisation allows."""

from __future__ import annotations

from datetime import datetime, timedelta

from remote_claude.contracts.billing import Entitlements, PlanChanged
from remote_claude.eventsourcing import Clock, EventLog, stream_id, timestamp

LATELY = timedelta(minutes=1)
MAX_REMEMBERED = 10_000


class Plans:
    """Reads the plan off billing's events: what it reads is exact."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._read: dict[str, tuple[datetime, Entitlements | None]] = {}

    async def lately(self, org: str) -> Entitlements | None:
        """What the plan allowed within the last minute: for what is read often."""
        now = self._clock()
        at, allowed = self._read.get(org, (None, None))
        if at is None or now - at > LATELY:
            allowed = await self.of(org)
            if len(self._read) >= MAX_REMEMBERED:
                self._read.clear()
            self._read[org] = now, allowed
        return allowed

    def forget(self, org: str) -> None:
        """The plan of an organisation has changed."""
        self._read.pop(org, None)

    async def of(self, org: str) -> Entitlements | None:
        """What the plan in force allows; None where there is no plan."""
        now, allowed = timestamp(self._clock()), None
        for recorded in await self._log.read_stream(stream_id("billing", org, "account", org)):
            if recorded.type == PlanChanged.type:
                changed: PlanChanged = recorded.event
                if changed.effective_at is None or changed.effective_at <= now:
                    allowed = changed.entitlements
        return allowed
