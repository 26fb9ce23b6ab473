"""The event log in memory: the same promises, for tests and simulation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from remote_claude.eventsourcing.cloudevents import encode_headers
from remote_claude.eventsourcing.events import Codec, Context, NewEvent, RecordedEvent
from remote_claude.eventsourcing.log import ConcurrencyConflict, PositionAhead, check_append, landed
from remote_claude.eventsourcing.stats import LogStats

BATCH = 500


class InMemoryEventLog:
    """An `EventLog` for one event loop. Deterministic: an append is done when it returns, in the order of calls."""

    def __init__(self, codec: Codec, *, prefix: str = "ev", heartbeat: float = 2.0) -> None:
        self.stats = LogStats()
        self._codec = codec
        self._prefix = prefix
        self._heartbeat = heartbeat
        self._events: list[RecordedEvent] = []
        self._streams: dict[str, list[RecordedEvent]] = {}
        self._appended = asyncio.Event()

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        encoded = [self._codec.encode(new.event) for new in events]
        envelopes = [encode_headers(n, "", name, v) for n, (name, v, _) in zip(events, encoded, strict=True)]
        sizes = [len(data) for _, _, data in encoded]
        check_append(self._prefix, stream, expected_position, sizes, max(map(len, envelopes), default=0))
        history = self._streams.get(stream, [])
        actual = history[-1].position if history else 0
        if actual != expected_position:
            since = [(e.event_id, e.position) for e in history if e.position > expected_position]
            position = landed([new.event_id for new in events], since)
            if position is None:
                self.stats.conflicts += 1
                raise ConcurrencyConflict(stream, expected_position, actual)
            self.stats.landed_before += 1
            return position
        for new, (name, version, data) in zip(events, encoded, strict=True):
            recorded = RecordedEvent(
                position=len(self._events) + 1,
                stream=stream,
                event_id=new.event_id,
                type=name,
                version=version,
                occurred_at=new.occurred_at,
                data=data,
                codec=self._codec,
                subject=new.subject,
                context=Context(
                    new.correlation_id, new.causation_id, new.cause, new.traceparent, new.actor, new.origin
                ),
            )
            self._events.append(recorded)
            self._streams.setdefault(stream, []).append(recorded)
        self.stats.appends += 1
        self.stats.events += len(events)
        self._appended.set()
        self._appended = asyncio.Event()
        return len(self._events)

    async def read_stream(self, stream: str, *, after: int = 0) -> list[RecordedEvent]:
        return [e for e in self._streams.get(stream, ()) if e.position > after]

    async def read(
        self, *, after: int = 0, until: int | None = None, subjects: str | None = None
    ) -> AsyncGenerator[list[RecordedEvent], None]:
        end = len(self._events) if until is None else min(until, len(self._events))
        self._check(after)
        for start in range(after, end, BATCH):
            batch = self._events[start : min(start + BATCH, end)]
            if subjects is not None:
                batch = [e for e in batch if subject_matches(subjects, e.stream)]
            if batch:
                self.stats.events_read += len(batch)
                yield batch

    async def follow(self, *, after: int) -> AsyncGenerator[list[RecordedEvent], None]:
        self._check(after)
        position = after
        while True:
            appended = self._appended
            batch = self._events[position : position + BATCH]
            if not batch:
                try:
                    async with asyncio.timeout(self._heartbeat):
                        await appended.wait()
                    continue
                except TimeoutError:
                    pass  # the heartbeat
            position += len(batch)
            self.stats.events_read += len(batch)
            yield batch

    async def last_position(self) -> int:
        return len(self._events)

    def _check(self, after: int) -> None:
        if after > len(self._events):
            raise PositionAhead(after, len(self._events))


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether a broker wildcard (`*` one token, `>` the rest) takes in a subject."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))
