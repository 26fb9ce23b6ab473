"""What billing shows on the metrics page: whether everything metered is accounted for, and whether Stripe agrees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from opentelemetry.metrics import CallbackOptions, Observation

from remote_claude.billing.projections.conservation import Conservation, conservation
from remote_claude.billing.projections.usage import UsageView
from remote_claude.billing.watch import BillingWatch
from remote_claude.contracts.periods import CALENDAR, period_at
from remote_claude.runtime.service import Runtime

EVERY_S = 300.0

log = structlog.get_logger(__name__)

GAUGES = {
    "metered": "Use of all organisations in the current period, by meter.",
    "charged": "Metered use that lines of bills charge for.",
    "included": "Metered use that plans include.",
    "written_off": "Metered use of lost attempts, which nobody pays for.",
    "unaccounted": "Metered use that is neither charged nor included nor written off.",
}
"""Fields of `Conservation`, and their help texts."""


class Audit:
    """Adds up the current period every few minutes, in the process that applies the view."""

    def __init__(self, runtime: Runtime, watch: BillingWatch) -> None:
        self._runtime = runtime
        self._sums = Conservation()
        runtime.meter.create_observable_gauge(
            "rclaude_billing_breach",
            [lambda _: [Observation(int(self.breached))]],
            description="1 while metered use does not add up: alert on it, no such period can be closed.",
        )
        runtime.meter.create_observable_gauge(
            "rclaude_billing_drifting_invoices",
            [lambda _: [Observation(watch.drifting)]],
            description="Invoices that differ from Stripe's, by the last comparison: alert above 0.",
        )
        for field, help in GAUGES.items():
            runtime.meter.create_observable_gauge(
                f"rclaude_billing_{field}", [self._gauge(field)], description=help
            )

    @property
    def breached(self) -> bool:
        """Whether anything did not add up at the last look."""
        return bool(self._sums.breaches)

    async def run(self) -> None:
        """Never ends by itself."""
        while True:
            if self._runtime.projectors[UsageView.name].state == "live":
                period = period_at(CALENDAR, self._runtime.clock()).id
                self._sums = await conservation(self._runtime.pool, period)
                if self.breached:
                    log.error("metered use does not add up", period=period, meters=self._sums.breaches)
            await asyncio.sleep(EVERY_S)

    def _gauge(self, field: str) -> Callable[[CallbackOptions], list[Observation]]:
        return lambda _: [Observation(n, {"meter": m}) for m, n in getattr(self._sums, field).items()]
