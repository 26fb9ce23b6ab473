"""One live tail of the log, shared by everything in a process that folds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from remote_claude.eventsourcing.events import RecordedEvent


class Tail(Protocol):
    """Reads the log once for many subscribers. A slow one falls out of the ring and reads on its own."""

    @property
    def position(self) -> int:
        """The position of the last event that has arrived here."""

    @property
    def age(self) -> float:
        """Seconds since the last event or sign of life arrived."""

    def subscribe(self, *, after: int) -> AsyncIterator[list[RecordedEvent]]:
        """Batches of events in order, from any position on; never ends by itself."""

    async def wait_for(self, position: int, timeout: float) -> bool:
        """Wait until `position` has arrived, at most `timeout` seconds; False when it has not."""
