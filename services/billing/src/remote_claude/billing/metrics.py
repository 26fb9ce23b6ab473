"""What billing shows on the metrics page: whether everything metered is accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from opentelemetry.metrics import CallbackOptions, Observation

from remote_claude.billing.projections.conservation import Conservation, conservation
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.periods import CALENDAR, period_at
from remote_claude.runtime.service import Runtime

EVERY_S = 300.0
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

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sums = Conservation()
        for field, help in GAUGES.items():
            runtime.meter.create_observable_gauge(
                f"rclaude_billing_{field}", [self._gauge(field)], description=help
            )

    async def run(self) -> None:
        """Never ends by itself."""
        while True:
            if self._runtime.projectors[UsageView.name].state == "live":
                period = period_at(CALENDAR, self._runtime.clock()).id
                self._sums = await conservation(self._runtime.pool, period)
            await asyncio.sleep(EVERY_S)

    def _gauge(self, field: str) -> Callable[[CallbackOptions], list[Observation]]:
        return lambda _: [Observation(n, {"meter": m}) for m, n in getattr(self._sums, field).items()]
