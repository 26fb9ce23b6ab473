"""What an event log counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class LogStats:
    """Counters that only rise, plain integers, for telemetry to export.

    `publishes` are guarded messages sent one by one, `batches` atomic batches; `batch_sizes` counts the
    batches by their number of events, rounded up to a power of two. `retries` are appends sent again,
    `landed_before` those found in the log although no acknowledgement had come.
    """

    appends: int = 0
    events: int = 0
    publishes: int = 0
    batches: int = 0
    batch_sizes: Counter[int] = field(default_factory=Counter)
    conflicts: int = 0
    retries: int = 0
    landed_before: int = 0
    unavailable: int = 0
    events_read: int = 0
    consumers_lost: int = 0
    on_group: Callable[[int, float], None] | None = None
    """Count a group that was dealt with: appends settled, and seconds since the first of them was asked for."""
    unanswered_s: Callable[[], float] = lambda: 0.0
    """For how many seconds a connected broker has decided no append that was sent to it, 0 when it does."""

    def batch(self, events: int) -> None:
        self.batches += 1
        self.batch_sizes[1 << (events - 1).bit_length()] += 1
