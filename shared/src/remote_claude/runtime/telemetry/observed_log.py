"""The event log as a process sees it: every event in a trace, every append measured."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import structlog

from remote_claude.eventsourcing import traces
from remote_claude.eventsourcing.events import NewEvent, RecordedEvent
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runtime.telemetry.tracing import Tracing

_log = structlog.get_logger(__name__)


class ObservedLog:
    """An `EventLog` around another one. At log level debug each event is a line.

    Events that follow from no other, which have no `traceparent` yet, get one, and a correlation id: what is
    being worked on, otherwise their aggregate's.
    """

    def __init__(self, log: EventLog, tracing: Tracing) -> None:
        self._log, self._tracing = log, tracing
        self._verbose = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        headed = [new if new.traceparent is not None else self._headed(stream, new) for new in events]
        if not (self._tracing.exporting or self._verbose):
            return await self._log.append(stream, headed, expected_position=expected_position)
        started = time.time_ns()
        position = await self._log.append(stream, headed, expected_position=expected_position)
        self._tracing.appended(stream, headed, position, started)
        if self._verbose:
            for new in headed:
                _log_appended(stream, new)
        return position

    def _headed(self, stream: str, new: NewEvent) -> NewEvent:
        about = new.correlation_id or traces.correlation.get() or stream.rpartition(".")[2]
        return replace(new, traceparent=self._tracing.headed(new), correlation_id=about)

    async def read_stream(self, stream: str, *, after: int = 0) -> list[RecordedEvent]:
        return await self._log.read_stream(stream, after=after)

    def read(
        self, *, after: int = 0, until: int | None = None, subjects: str | None = None
    ) -> AsyncGenerator[list[RecordedEvent], None]:
        return self._log.read(after=after, until=until, subjects=subjects)

    def follow(self, *, after: int) -> AsyncGenerator[list[RecordedEvent], None]:
        return self._log.follow(after=after)

    async def last_position(self) -> int:
        return await self._log.last_position()


def _log_appended(stream: str, new: NewEvent) -> None:
    here, about = traces.current.set(new.traceparent), traces.correlation.set(new.correlation_id)
    try:
        _log.debug("event appended", type=new.event.type, stream=stream, id=new.event_id)
    finally:
        traces.current.reset(here)
        traces.correlation.reset(about)
