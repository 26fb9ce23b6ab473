"""The event store: what a log promises, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from remote_claude.eventsourcing.events import NewEvent, RecordedEvent

MAX_EVENT_BYTES = 256 * 1024
MAX_BATCH_EVENTS = 1000
MAX_BATCH_BYTES = 4 * 1024 * 1024


class EventLogError(Exception):
    """Base of what an event log refuses or can't do. `code` is stable."""

    code = "event_log_error"


class ConcurrencyConflict(EventLogError):
    """The stream has moved on since it was read: load, decide and append again."""

    code = "concurrency_conflict"

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"{stream} is at {actual}, expected {expected}")
        self.stream, self.expected, self.actual = stream, expected, actual


class EventTooLarge(EventLogError):
    """An event over 256 KiB belongs into the object store, with its hash in the event."""

    code = "event_too_large"


class LogUnavailable(EventLogError):
    """The broker gave no answer within the bound; nothing is known of the append. Try again with the same ids."""

    code = "log_unavailable"


class EventLog(Protocol):
    """One ordered log of events, in streams that are guarded one by one."""

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        """Append all of `events` to one stream, or none. Return the position of the last.

        `expected_position` is the position of the stream's last event, 0 for a new stream.
        Appending the same event ids again after they have landed returns their position.
        Raises `ConcurrencyConflict`, `EventTooLarge`, `LogUnavailable`.
        """

    async def read_stream(self, stream: str, *, after: int = 0) -> list[RecordedEvent]:
        """The history of one aggregate, in order, read from the leader."""

    def read(
        self, *, after: int = 0, until: int | None = None, subjects: str | None = None
    ) -> AsyncIterator[list[RecordedEvent]]:
        """Everything after a position in log order, in batches, up to `until` or the end as it is now.

        `subjects` is a broker wildcard such as `ev.auth.>`; it costs a scan, use it for start-up folds only.
        """

    def follow(self, *, after: int) -> AsyncIterator[list[RecordedEvent]]:
        """Everything after a position, and then what comes, in batches as they arrive; never ends by itself.

        An empty batch is a sign of life: it comes at least every few seconds while the log is reachable.
        """

    async def last_position(self) -> int:
        """The position of the last event in the log, 0 when it is empty."""
