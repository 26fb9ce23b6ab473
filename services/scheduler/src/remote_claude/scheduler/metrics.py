"""What the scheduler shows on the metrics page."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from remote_claude.scheduler.consumers import Scheduler


def observe(meter: Meter, scheduler: Scheduler) -> None:
    """Gauges read the state when the page is requested; while a task is handled only counters move."""

    def gauge(field: str) -> Callable[[CallbackOptions], list[Observation]]:
        return lambda _: [Observation(int(scheduler.status()[field]))]

    for field in ("leader", "position", "queued", "running", "runners", "unreadable_events"):
        meter.create_observable_gauge(f"rclaude_scheduler_{field}", [gauge(field)])

    def decisions(_: CallbackOptions) -> list[Observation]:
        return [Observation(n, {"type": type}) for type, n in scheduler.decided.items()]

    meter.create_observable_counter("rclaude_scheduler_decisions", [decisions])
