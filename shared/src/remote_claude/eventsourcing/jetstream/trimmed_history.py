"""What has been trimmed off the broker, as an event log reads it on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from remote_claude.eventsourcing.events import RecordedEvent


class History(Protocol):
    """The beginning of a log, somewhere else than on the broker. Each raises `LogUnavailable` when it is out of reach."""

    def read(
        self, *, after: int, until: int, subjects: str | None = None
    ) -> AsyncGenerator[list[RecordedEvent], None]:
        """Events in order, as `EventLog.read` gives them."""

    async def read_stream(self, stream: str, *, after: int, until: int) -> list[RecordedEvent]:
        """The events of one aggregate in order."""

    async def last(self, stream: str, *, until: int) -> int:
        """The position of an aggregate's last event up to a position, 0 for none."""
