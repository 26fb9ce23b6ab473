"""Measures what organisations store when a UTC day begins. These bytes count for the whole day."""

from __future__ import annotations

import structlog
from obstore.exceptions import BaseError

from remote_claude.billing.domain.invoicing import MeasureStorage
from remote_claude.billing.invoices import Invoices
from remote_claude.contracts.billing import StorageMeasured
from remote_claude.eventsourcing import Clock, timestamp
from remote_claude.runtime.objects import Objects

STORAGE_POLL_S = 60.0
"""How soon after midnight a day is measured."""

log = structlog.get_logger(__name__)


class Storage:
    """Each look is safe to repeat, in any process: the decider records a day once."""

    def __init__(self, objects: Objects, clock: Clock, invoices: Invoices) -> None:
        self._objects, self._clock, self._invoices = objects, clock, invoices
        self._measured: dict[str, str] = {}
        """The last day of each organisation."""

    async def measure(self) -> None:
        """Record what each organisation stores today, unless it is recorded. A store that does not answer is asked again."""
        measured_at = timestamp(self._clock())
        day = measured_at[:10]
        for org in await self._invoices.organisations():
            if self._measured.get(org) == day:
                continue
            if (await self._invoices.account(org)).storage_is_due(day):
                try:
                    size = await self._objects.size(org)
                except (BaseError, OSError) as error:
                    log.warning("storage can't be measured", org=org, error=repr(error))
                    continue
                found = StorageMeasured(org=org, day=day, size=size, measured_at=measured_at)
                await self._invoices.handle(org, MeasureStorage(measured=found))
            self._measured[org] = day
