"""Reading the log in order: a pull consumer without acknowledgements, made again wherever it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

import orjson

from remote_claude.eventsourcing.cloudevents import decode_event
from remote_claude.eventsourcing.events import Codec, RecordedEvent
from remote_claude.eventsourcing.jetstream.direct_get import DirectReader, unavailable
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.log import LogIncomplete, LogTrimmed, LogUnavailable, PositionAhead
from remote_claude.eventsourcing.message_frames import parse_headers, status
from remote_claude.eventsourcing.stats import LogStats

IN_FLIGHT = 2000
IN_FLIGHT_BYTES = 8 * 1024 * 1024
EXPIRES = 30.0
INACTIVE = 20.0
"""A consumer that nobody asks for so long is forgotten by the broker. We may not delete one: it could be another's."""
NANOSECONDS = 1_000_000_000


def check_whole(after: int, events: Sequence[RecordedEvent]) -> None:
    """Raise `LogIncomplete` unless `events`, which are in order, follow `after` without a gap."""
    if events[-1].position - after == len(events):
        return
    for event in events:
        if event.position != after + 1:
            raise LogIncomplete(f"positions {after + 1} to {event.position - 1}")
        after = event.position


class ConsumerLost(Exception):
    """The consumer is gone, has skipped something, or keeps silent."""


class EventBatch(NamedTuple):
    """Events in order, none as a heartbeat; `pending` is how many more there were at the last of them."""

    events: list[RecordedEvent]
    pending: int


class Reader:
    """Reads one JetStream stream in order, from any position."""

    def __init__(
        self,
        wire: Wire,
        direct: DirectReader,
        stream: str,
        codec: Codec,
        stats: LogStats,
        *,
        name: str,
        heartbeat: float,
        timeout: float,
    ) -> None:
        self._wire = wire
        self._direct = direct
        self._stream = stream
        self._codec = codec
        self._stats = stats
        self._name = name
        self._heartbeat = heartbeat
        self._timeout = timeout

    async def bounds(self, after: int) -> tuple[int, int]:
        """The log's first and last position; a new leader gets some seconds to know it. Raises `PositionAhead`."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._timeout
        while (bounds := await self._direct.bounds())[1] < after:
            if loop.time() > patience:
                raise PositionAhead(after, bounds[1])
            await asyncio.sleep(0.1)
        return bounds

    async def batches(
        self, after: int, subjects: str | None = None, *, patience: float | None = None, whole: bool = False
    ) -> AsyncGenerator[EventBatch, None]:
        """Everything after a position, for ever. The first batch comes at once, if need be without events.

        Raises `LogUnavailable` after `patience` seconds without a consumer, or when the connection is closed,
        `PositionAhead`, and `LogTrimmed`; if the stream has to be `whole`, `LogIncomplete` where a position is missing.
        """
        position, pause = after, 0.0
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while True:
            try:
                first, _ = await self.bounds(position)
                if position + 1 < first:
                    raise LogTrimmed(position, first)
                async with self._consumer(position, subjects) as consumer:
                    yield EventBatch([], consumer.pending)
                    seen, pause = loop.time(), 0.0
                    async for batch in consumer.batches():
                        if batch.events and batch.events[0].position <= position:
                            # the consumer's replica was behind, and began at its own end
                            batch = EventBatch(
                                [e for e in batch.events if e.position > position], batch.pending
                            )
                        if batch.events:
                            if whole:
                                check_whole(position, batch.events)
                            position = batch.events[-1].position
                            self._stats.events_read += len(batch.events)
                        yield batch
                        seen = loop.time()
            except (ConsumerLost, LogUnavailable) as error:
                self._stats.consumers_lost += 1
                if self._wire.client.is_closed:
                    raise LogUnavailable("the connection to the broker has been closed") from error
                if patience is not None and loop.time() - seen > patience:
                    raise LogUnavailable(
                        f"nothing to read from {self._stream} within {patience} s: {error}"
                    ) from error
                pause = min(pause * 2 + 0.01, 1.0)
                await asyncio.sleep(pause)

    @asynccontextmanager
    async def _consumer(self, after: int, subjects: str | None) -> AsyncIterator[Consumer]:
        name = f"{self._name}-{uuid4().hex[:16]}"
        config = {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": after + 1,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(INACTIVE * NANOSECONDS),
            "num_replicas": 1,
            "mem_storage": True,
        }
        subject = f"CONSUMER.CREATE.{self._stream}.{name}"
        if subjects is not None:
            config["filter_subject"] = subjects
            subject += f".{subjects}"
        epoch = self._wire.epoch
        answer = await self._wire.api(
            subject,
            {"stream_name": self._stream, "config": config, "action": "create"},
            timeout=self._timeout,
        )
        if "error" in answer:
            raise unavailable(self._stream, answer["error"])
        consumer = Consumer(self._wire, self._stream, name, epoch, self._codec, self._heartbeat)
        consumer.pending = answer["num_pending"]
        listener = await self._wire.listen(consumer.receive)
        consumer.inbox = listener.inbox
        try:
            yield consumer
        finally:
            await listener.close()


class Consumer:
    """One pull consumer. Pulls only as fast as its batches are taken."""

    def __init__(
        self, wire: Wire, stream: str, name: str, epoch: int, codec: Codec, heartbeat: float
    ) -> None:
        self.inbox = ""
        self.pending = 0
        self._wire = wire
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        self._name = name
        self._epoch = epoch
        self._codec = codec
        self._heartbeat = heartbeat
        self._frames: list[tuple[bytes, bytes, bytes, bytes]] = []
        self._arrived = asyncio.Event()
        self._requested = 0
        self._sequence = 0

    def receive(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        self._frames.append((subject, reply, headers, data))
        self._arrived.set()

    async def batches(self) -> AsyncGenerator[EventBatch, None]:
        """What arrives, as it arrives. Raises `ConsumerLost`."""
        while True:
            if self._requested <= IN_FLIGHT // 2:
                await self._ask(IN_FLIGHT - self._requested)
            if await self._arrives():
                frames, self._frames = self._frames, []
                self._arrived.clear()
                yield EventBatch(self._decode(frames), self.pending)

    async def _ask(self, n: int) -> None:
        self._requested += n
        request = {
            "batch": n,
            "max_bytes": IN_FLIGHT_BYTES,
            "expires": int(max(EXPIRES, 2 * self._heartbeat) * NANOSECONDS),
            "idle_heartbeat": int(self._heartbeat * NANOSECONDS),
        }
        await self._wire.publish(self._next, orjson.dumps(request), self.inbox)

    async def _arrives(self) -> bool:
        """Wait until something has arrived; raise when the connection changes, or after three silent heartbeats."""
        loop = asyncio.get_running_loop()
        end = loop.time() + 3 * self._heartbeat
        while not self._arrived.is_set():
            if self._wire.epoch != self._epoch or not self._wire.connected:
                raise ConsumerLost("the connection was lost")
            left = end - loop.time()
            if left <= 0:
                raise ConsumerLost(f"silent for {3 * self._heartbeat} s")
            try:
                async with asyncio.timeout(min(left, 0.25)):  # wait_for may swallow a cancellation
                    await self._arrived.wait()
            except TimeoutError:
                continue
        return True

    def _decode(self, frames: list[tuple[bytes, bytes, bytes, bytes]]) -> list[RecordedEvent]:
        events: list[RecordedEvent] = []
        for subject, reply, headers, data in frames:
            if status(headers):
                self._handle_status(status(headers), headers)
                continue
            # newer brokers name domain and account before these, and a token after them
            _, position, place, _, pending, *_ = reply.rsplit(b".", 4 if reply.count(b".") == 8 else 5)
            sequence = int(place)
            if sequence != self._sequence + 1:
                raise ConsumerLost(f"message {sequence} after {self._sequence}")
            self._sequence = sequence
            self._requested -= 1
            self.pending = int(pending)
            events.append(decode_event(int(position), subject.decode(), headers, data, self._codec))
        return events

    def _handle_status(self, code: int, headers: bytes) -> None:
        """A status: a heartbeat, the end of one pull, or the end of the consumer."""
        if code == 100:
            return
        text = headers[9 : headers.find(b"\r\n")].decode()
        rest = parse_headers(headers).get("Nats-Pending-Messages")
        if rest is None or "Deleted" in text or "Shutdown" in text or "Leadership" in text or code == 503:
            raise ConsumerLost(text)
        self._requested -= int(rest)
