"""The instruments that every process has: what its event log has done, and how far its views are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from opentelemetry.metrics import CallbackOptions, Observation

from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.batches import DeadLetter
from remote_claude.eventsourcing.postgres.effects import OutboxWorker
from remote_claude.eventsourcing.postgres.projector import OnBatch
from remote_claude.eventsourcing.views import View
from remote_claude.runtime.service import Runtime

COUNTED = {
    "appends": "Appends that the broker has acknowledged to this process.",
    "events": "Events in appends that the broker has acknowledged to this process.",
    "conflicts": "Appends that lost a race: their aggregate had another event in the meantime.",
    "retries": "Appends that were sent again.",
    "landed_before": "Appends found in the log although no acknowledgement had arrived.",
    "unavailable": "Appends given up without an answer from the broker.",
    "events_read": "Events that this process has read.",
    "consumers_lost": "How often the reader of the log had to be created again.",
}
"""Fields of `LogStats` that are counters as they are, and their help texts."""

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

Callback = Callable[[CallbackOptions], Iterable[Observation]]


def observe(runtime: Runtime) -> None:
    """Gauges and counters are read when the page is asked for; a group of appends costs two recordings."""
    meter, stats = runtime.meter, runtime.stats

    def counter(field: str) -> Callback:
        return lambda _: [Observation(getattr(stats, field))]

    def by_view(field: str) -> Callback:
        return lambda _: [Observation(getattr(p, field), {"view": v}) for v, p in runtime.projectors.items()]

    for field, help in COUNTED.items():
        meter.create_observable_counter(f"rclaude_log_{field}", [counter(field)], description=help)
    meter.create_observable_counter(
        "rclaude_log_commits",
        [
            lambda _: [
                Observation(stats.publishes, {"how": "single"}),
                Observation(stats.batches, {"how": "batch"}),
            ]
        ],
        description="Publishes to the broker: single events, or batches of many.",
    )
    meter.create_observable_gauge(
        "rclaude_log_position",
        [lambda _: [Observation(runtime.tail.position)]],
        description="Position of the last event that has arrived in this process.",
    )
    meter.create_observable_gauge(
        "rclaude_log_missing_events",
        [lambda _: [Observation(runtime.tail.missing)]],
        description="Positions since the start for which no event has arrived.",
    )
    meter.create_observable_gauge(
        "rclaude_view_lag_events",
        [by_view("lag")],
        description="Positions that a view is behind the last event that has arrived.",
    )
    meter.create_observable_gauge(
        "rclaude_view_parked_events",
        [by_view("parked")],
        description="Events that a view could not apply and has put aside.",
    )
    latency = meter.create_histogram(
        "rclaude_log_append",
        unit="s",
        description="Time from the first append of a group to the last acknowledgement.",
        explicit_bucket_boundaries_advisory=SECONDS,
    )
    sizes = meter.create_histogram(
        "rclaude_log_group_appends",
        description="Appends that were sent in one group.",
        explicit_bucket_boundaries_advisory=SIZES,
    )

    def group(appends: int, seconds: float) -> None:
        latency.record(seconds)
        sizes.record(appends)

    stats.on_group = group


def observed_batches(runtime: Runtime) -> OnBatch:
    """What measures a projector's batches: their size is recorded, their spans are made."""
    sizes = runtime.meter.create_histogram(
        "rclaude_view_batch_events",
        description="Events in one transaction of a view, ignored ones included.",
        explicit_bucket_boundaries_advisory=SIZES,
    )

    def applied(
        view: View, events: Sequence[RecordedEvent], letters: Sequence[DeadLetter], started: int
    ) -> None:
        sizes.record(len(events), {"view": view.name})
        runtime.tracing.folded(view, events, letters, started)

    return applied


def observe_outboxes(runtime: Runtime, workers: Mapping[str, OutboxWorker]) -> None:
    """What is still to be done outside, where it is known, how often it was tried here, and what went wrong."""

    def by_view(value: Callable[[OutboxWorker], int]) -> Callback:
        return lambda _: [Observation(value(w), {"view": v}) for v, w in workers.items()]

    runtime.meter.create_observable_gauge(
        "rclaude_outbox_pending",
        [
            lambda _: [
                Observation(w.pending, {"view": v}) for v, w in workers.items() if w.pending is not None
            ]
        ],
        description="Side effects without an outcome yet.",
    )
    runtime.meter.create_observable_counter(
        "rclaude_outbox_attempts",
        [
            lambda _: [
                Observation(w.attempts[how], {"view": v, "how": how})
                for v, w in workers.items()
                for how in ("done", "retry", "park")
            ]
        ],
        description="Side effects that this process has tried, by result.",
    )
    runtime.meter.create_observable_counter(
        "rclaude_outbox_refused_outcomes",
        [by_view(lambda worker: len(worker.refused))],
        description="Side effects whose outcome could not be recorded.",
    )
    runtime.meter.create_observable_counter(
        "rclaude_outbox_lane_failures",
        [by_view(lambda worker: worker.lane_failures)],
        description="Faults while the side effects of one receiver were tried.",
    )
