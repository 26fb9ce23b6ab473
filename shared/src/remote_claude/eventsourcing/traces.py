"""Which trace something belongs to, as W3C `traceparent`: `00-<trace>-<span>-<flags>`.

An event is a span: its id follows from the event's id, its parent's from the event's cause, its trace is that of
the cause. So the log alone has the whole tree, and an event that is sent again is the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any

from remote_claude.eventsourcing.events import RecordedEvent

current: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The span that is being worked on. What is appended meanwhile, without a cause of its own, belongs below it."""

correlation: ContextVar[str | None] = ContextVar("correlation", default=None)
"""What log lines are about: as a rule a task."""

_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def trace_id(traceparent: str) -> str:
    return traceparent[3:35]


def span_id(traceparent: str) -> str:
    return traceparent[36:52]


def sampled(traceparent: str) -> bool:
    """Whether its spans are exported."""
    return bool(int(traceparent[53:55], 16) & 1)


def span_of(event_id: str) -> str:
    """The span id of an event: the second half of its UUID, which is never zero."""
    return event_id.replace("-", "")[16:] if _uuid(event_id) else derived_span(event_id)


def derived_span(name: str) -> str:
    """The span id of something that is no event, the same at every try."""
    return blake2b(name.encode(), digest_size=8).hexdigest()


def child(traceparent: str, span: str) -> str:
    """Another span of the same trace."""
    return f"{traceparent[:36]}{span}{traceparent[52:]}"


def of_event(cause: str | None, event_id: str) -> str | None:
    """The header of an event, from that of its cause; None where the cause has none."""
    return None if cause is None else child(cause, span_of(event_id))


def root(event_id: str, *, sampled: bool) -> str:
    """The header of an event that nothing is known to have caused: a trace of its own."""
    trace = (
        event_id.replace("-", "")
        if _uuid(event_id)
        else blake2b(event_id.encode(), digest_size=16).hexdigest()
    )
    return f"00-{trace}-{span_of(event_id)}-0{int(sampled)}"


@contextmanager
def about(recorded: RecordedEvent) -> Iterator[None]:
    """Log lines meanwhile are about this event."""
    before, correlated = current.set(recorded.traceparent), correlation.set(recorded.correlation_id)
    try:
        yield
    finally:
        current.reset(before)
        correlation.reset(correlated)


def log_skipped(log: Any, recorded: RecordedEvent, error: Exception) -> None:
    """Say in `log`, a structlog logger, that a reader goes on without an event."""
    with about(recorded):
        log.error("an event can't be read, and is passed over", recorded=repr(recorded), detail=str(error))
