"""What the scheduler shows on the metrics page."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from remote_claude.scheduler.process import Scheduler

GAUGES = {
    "leader": "1 in the process that decides, 0 in a standby.",
    "position": "Position of the log up to which the scheduler has read.",
    "queued": "Tasks that are admitted and wait for a runner, or wait for admission.",
    "running": "Attempts that are assigned to a runner.",
    "runners": "Runners that are known.",
    "unreadable_events": "Events that the scheduler could not read.",
}
"""Fields of the scheduler's status, and their help texts."""


def observe(meter: Meter, scheduler: Scheduler) -> None:
    """Gauges read the state when the page is requested; while a task is handled only counters move."""

    def gauge(field: str) -> Callable[[CallbackOptions], list[Observation]]:
        return lambda _: [Observation(int(scheduler.status()[field]))]

    for field, help in GAUGES.items():
        meter.create_observable_gauge(f"rclaude_scheduler_{field}", [gauge(field)], description=help)

    def decisions(_: CallbackOptions) -> list[Observation]:
        return [Observation(n, {"type": type}) for type, n in scheduler.decided.items()]

    meter.create_observable_counter(
        "rclaude_scheduler_decisions",
        [decisions],
        description="Events that this scheduler has decided on, by type.",
    )
