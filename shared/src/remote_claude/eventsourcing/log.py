"""The event store: what a log promises, whichever it is."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from remote_claude.eventsourcing.events import NewEvent, RecordedEvent

MAX_EVENT_BYTES = 256 * 1024
MAX_HEADER_BYTES = 16 * 1024
MAX_STREAM = 255
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


class AppendRefused(EventLogError):
    """The broker refuses the append for a reason that no retry changes; the message says which."""

    code = "append_refused"


class NotPermitted(AppendRefused):
    """The broker refuses this process's credential what it asked for. A retry doesn't change that."""

    code = "not_permitted"

    def __init__(self, subject: str) -> None:
        super().__init__(
            f"the broker does not permit this process's credential to publish to {subject}: "
            f"is RCLAUDE_NATS_CREDENTIALS the seed of another service, or older than this release?"
        )
        self.subject = subject


class PositionAhead(EventLogError):
    """A reader has been further than the log is: the log was restored from an older copy, or is another one."""

    code = "position_ahead"

    def __init__(self, after: int, last: int) -> None:
        super().__init__(
            f"reading after {after}, but the log ends at {last}: "
            f"restore the log up to there, or rebuild what has been read from it"
        )
        self.after, self.last = after, last


class LogTrimmed(EventLogError):
    """The beginning of the log is not on the broker any more, and this reader was given no history to read it from."""

    code = "log_trimmed"

    def __init__(self, after: int, first: int) -> None:
        super().__init__(
            f"reading after {after}, but the broker's log begins at {first}: the archive has what precedes"
        )
        self.after, self.first = after, first


class LogIncomplete(EventLogError):
    """Positions inside the log hold nothing: the broker has lost what it had acknowledged. Nothing is read past them."""

    code = "log_incomplete"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the broker has lost events that it had acknowledged: {what}. Stop every service, see what is missing with "
            "`rclaude-admin log verify`, bring it back with `rclaude-admin log restore`, and start again"
        )


class EventLog(Protocol):
    """One ordered log of events, in streams that are guarded one by one."""

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        """Append all of `events` to one stream, or none. Return the position of the last.

        `expected_position` is the position of the stream's last event, 0 for a new stream.
        Appending the same event ids again after they have landed returns their position.
        Raises `ConcurrencyConflict`, `EventTooLarge`, `LogUnavailable`, `AppendRefused`, `NotPermitted`;
        `ValueError` for a stream or a position that can't be one.
        """

    async def read_stream(self, stream: str, *, after: int = 0) -> list[RecordedEvent]:
        """The history of one aggregate, in order, read from the leader."""

    def read(
        self, *, after: int = 0, until: int | None = None, subjects: str | None = None
    ) -> AsyncGenerator[list[RecordedEvent], None]:
        """Everything after a position in log order, in batches, up to `until` or the end as it is now.

        `subjects` is a broker wildcard such as `ev.auth.>`; it costs a scan, use it for start-up folds only.
        Raises `LogUnavailable` when nothing comes for long, `PositionAhead`, `LogIncomplete`, `LogTrimmed`,
        `NotPermitted`.
        """

    def follow(self, *, after: int) -> AsyncGenerator[list[RecordedEvent], None]:
        """Everything after a position, and then what comes, in batches as they arrive; never ends by itself.

        An empty batch is a heartbeat: it comes at least every few seconds while the log is reachable.
        Survives reconnections and restarts of the broker. Raises `PositionAhead`, `LogIncomplete`,
        `LogTrimmed`, `NotPermitted`, and `LogUnavailable` only when the connection has been closed for good.
        """

    async def last_position(self) -> int:
        """The position of the last event in the log, 0 when it is empty."""


async def check_reaches(log: EventLog, position: int) -> None:
    """Raises `PositionAhead` when a log does not go as far; a leader that is new gets some seconds to know it."""
    async with aclosing(log.read(after=position, until=position)) as nothing:
        async for _ in nothing:
            pass


_stream = re.compile(r"(?:\.[a-z0-9_-]+){4}").fullmatch


def check_append(
    prefix: str, stream: str, expected_position: int, sizes: Sequence[int], headers: int = 0
) -> None:
    """Refuse what no log takes: `EventTooLarge` by the sizes in bytes, `ValueError` for the rest.

    `headers` is the size of the largest envelope. A broker closes the connection on what is too long for it.
    """
    if len(stream) > MAX_STREAM or not stream.startswith(prefix) or not _stream(stream, len(prefix)):
        raise ValueError(
            f"not the stream of an aggregate: {stream[:300]!r}, expected {prefix}.<producer>.<org>.<aggregate>.<id> "
            f"in {MAX_STREAM} characters"
        )
    if headers > MAX_HEADER_BYTES:
        raise EventTooLarge(
            f"an envelope of {headers} bytes, more than {MAX_HEADER_BYTES}: shorten its subject or ids"
        )
    if expected_position < 0:
        raise ValueError(f"an append needs the position it expects, 0 for a new stream: {expected_position}")
    if not sizes:
        raise ValueError("an append of no events")
    if max(sizes) > MAX_EVENT_BYTES:
        raise EventTooLarge(
            f"an event of {max(sizes)} bytes, more than {MAX_EVENT_BYTES}: put its content into the object store"
        )
    if len(sizes) > MAX_BATCH_EVENTS or sum(sizes) > MAX_BATCH_BYTES:
        raise EventTooLarge(
            f"{len(sizes)} events with {sum(sizes)} bytes in one append, more than {MAX_BATCH_EVENTS} or {MAX_BATCH_BYTES}"
        )


def landed(ids: Sequence[str], since: Sequence[tuple[str, int]]) -> int | None:
    """Where the last of `ids` is, when all of them are in (id, position) since the expected position; otherwise None."""
    positions = dict(since)
    return positions[ids[-1]] if all(event_id in positions for event_id in ids) else None
