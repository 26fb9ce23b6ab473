"""The event log over NATS JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType

from nats.aio.client import Client

from remote_claude.eventsourcing.cloudevents import encode_headers
from remote_claude.eventsourcing.events import Codec, NewEvent, RecordedEvent
from remote_claude.eventsourcing.jetstream.append_queue import EncodedMessage
from remote_claude.eventsourcing.jetstream.committer import Committer
from remote_claude.eventsourcing.jetstream.direct_get import DirectReader
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.jetstream.ordered_consumer import Reader
from remote_claude.eventsourcing.jetstream.trimmed_history import History
from remote_claude.eventsourcing.log import (
    ConcurrencyConflict,
    LogIncomplete,
    LogUnavailable,
    check_append,
    landed,
)
from remote_claude.eventsourcing.stats import LogStats


class JetStreamEventLog:
    """An `EventLog` in one JetStream stream. One per process, since its committer gathers what goes there.

    `client` is connected, reconnects for ever (`max_reconnect_attempts=-1`) and is closed by its maker,
    after this log. `name` begins the names of its consumers. `leader_reads`: a decision asks the leader how far
    its stream goes, by default where several brokers keep it. `bound` is in seconds how long an append is tried
    (what is ready to be sent by then still is, and waits for its answer), `capacity` how many may wait before `append`
    itself does.
    """

    def __init__(
        self,
        client: Client,
        codec: Codec,
        *,
        stream: str = "EVENTS",
        prefix: str = "ev",
        name: str = "log",
        leader_reads: bool | None = None,
        bound: float = 30.0,
        attempt_timeout: float = 5.0,
        heartbeat: float = 2.0,
        capacity: int = 10_000,
    ) -> None:
        self.stats = LogStats()
        self._codec = codec
        self._prefix = prefix
        self._leader_reads = leader_reads
        self._history: History | None = None
        self._trimmed = 0  # the history has everything up to here
        self._bound = bound
        wire = Wire.over(client)
        self._direct = DirectReader(wire, stream, codec, timeout=attempt_timeout)
        self._committer = Committer(
            wire, self._direct, self.stats, bound=bound, attempt_timeout=attempt_timeout, capacity=capacity
        )
        self.stats.unanswered_s = self._committer.unanswered_s
        self._reader = Reader(
            wire,
            self._direct,
            stream,
            codec,
            self.stats,
            name=name,
            heartbeat=heartbeat,
            timeout=attempt_timeout,
        )

    async def __aenter__(self) -> JetStreamEventLog:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish the appends that are waiting, and take no more."""
        await self._committer.close()

    @property
    def waiting(self) -> int:
        """How many appends wait for the next group."""
        return self._committer.waiting

    async def go_back_to(self, history: History) -> None:
        """Read what has been trimmed off the broker from there. Nothing is trimmed while this log is in use."""
        self._trimmed = (await self.bounds())[0] - 1
        self._history = history if self._trimmed else None

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        producer = stream.split(".", 2)[1] if "." in stream else ""
        messages, sizes, headers = [], [], []
        for new in events:
            name, version, data = self._codec.encode(new.event)
            message = EncodedMessage(encode_headers(new, producer, name, version), data)
            messages.append(message)
            sizes.append(len(data))
            headers.append(len(message.headers))
        check_append(self._prefix, stream, expected_position, sizes, max(headers, default=0))
        ids, size = [new.event_id for new in events], sum(sizes) + sum(headers)
        if self._history is None or expected_position > self._trimmed:
            return await self._committer.append(stream, expected_position, ids, messages, size)
        return await self._append_after_history(self._history, stream, expected_position, ids, messages, size)

    async def _append_after_history(
        self,
        history: History,
        stream: str,
        expected: int,
        ids: list[str],
        messages: list[EncodedMessage],
        size: int,
    ) -> int:
        """To a stream whose end is trimmed or which is new: the history says which, the broker has nothing of it."""
        if await history.last(stream, until=self._trimmed) == expected:
            try:
                return await self._committer.append(stream, 0, ids, messages, size)
            except ConcurrencyConflict as error:
                raise ConcurrencyConflict(stream, expected, error.actual) from None
        since = await self.read_stream(stream, after=expected)
        position = landed(ids, [(event.event_id, event.position) for event in since])
        if position is None:
            self.stats.conflicts += 1
            raise ConcurrencyConflict(stream, expected, since[-1].position if since else 0)
        self.stats.landed_before += 1
        return position

    async def read_stream(self, stream: str, *, after: int = 0) -> list[RecordedEvent]:
        if self._leader_reads is None:
            self._leader_reads = await self._direct.replicated()
        reaching = await self._direct.leader_last(stream) if self._leader_reads else 0
        events: list[RecordedEvent] = []
        if self._history is not None and after < self._trimmed:
            events = await self._history.read_stream(stream, after=after, until=self._trimmed)
        return events + await self._direct.history(stream, after=after, reaching=reaching)

    async def read(
        self, *, after: int = 0, until: int | None = None, subjects: str | None = None
    ) -> AsyncGenerator[list[RecordedEvent], None]:
        _, end = await self._reader.bounds(after)
        if until is not None:
            end = min(until, end)
        async with aclosing(self._from_history(after, end, subjects)) as batches:
            async for events in batches:
                yield events
        after = max(after, self._trimmed)
        whole = subjects is None
        async with aclosing(
            self.read_broker(after=after, until=end, subjects=subjects, whole=whole)
        ) as batches:
            async for events in batches:
                yield events
                after = events[-1].position
        if whole and after < end:
            raise LogIncomplete(f"positions {after + 1} to {end}")

    async def read_broker(
        self, *, after: int = 0, until: int, subjects: str | None = None, whole: bool = False
    ) -> AsyncGenerator[list[RecordedEvent], None]:
        """What the broker itself holds after a position, up to one that it has reached.

        If that has to be `whole`, raises `LogIncomplete` where a position is missing.
        """
        if after >= until:
            return
        loop = asyncio.get_running_loop()
        lagging: float | None = None
        silences = -1  # the first batch comes at once, and may be empty
        async with aclosing(
            self._reader.batches(after, subjects, patience=self._bound, whole=whole)
        ) as batches:
            async for events, pending in batches:
                silences = 0 if events else silences + 1
                if events:
                    after, lagging = events[-1].position, None
                    if after > until:
                        events = [event for event in events if event.position <= until]
                    if events:
                        yield events
                done = pending == 0 or silences > 0  # a message that is damaged stays pending for ever
                if after >= until or (done and await self._was_all(after, until, subjects)):
                    return
                if pending == 0:
                    lagging = lagging or loop.time()
                    if loop.time() - lagging > self._bound:
                        raise LogUnavailable(f"a replica of the log lacks what comes after {after}")

    async def _was_all(self, after: int, end: int, subjects: str | None) -> bool:
        """Whether nothing is left up to `end`. A reader may be fed by a replica that is not there yet."""
        try:
            following = await self._direct.leader_next(after, subjects)
        except LogUnavailable:
            return False
        return not 0 < following <= end

    async def _from_history(
        self, after: int, until: int, subjects: str | None = None
    ) -> AsyncGenerator[list[RecordedEvent], None]:
        if self._history is None or after >= min(until, self._trimmed):
            return
        trimmed = self._history.read(after=after, until=min(until, self._trimmed), subjects=subjects)
        async with aclosing(trimmed):
            async for events in trimmed:
                self.stats.events_read += len(events)
                yield events

    async def follow(self, *, after: int) -> AsyncGenerator[list[RecordedEvent], None]:
        async with aclosing(self._from_history(after, self._trimmed)) as trimmed:
            async for events in trimmed:
                yield events
        after = max(after, self._trimmed)
        async with aclosing(self._reader.batches(after, whole=True)) as batches:
            async for events, _ in batches:
                yield events

    async def bounds(self) -> tuple[int, int]:
        """The positions of the first and the last event in the stream; the first is one more when it is empty."""
        return await self._direct.bounds()

    async def lost(self) -> int:
        """How many positions between the first and the last event the broker itself knows to hold nothing."""
        return await self._direct.lost()

    async def readers(self) -> int:
        """How many processes read the log in order just now, this one included."""
        return await self._direct.readers()

    async def last_position(self) -> int:
        return await self._direct.last_position()
