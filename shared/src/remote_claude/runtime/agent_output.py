"""Agent output: frames on the stream `OUTPUT`. Not facts: they age out there and are kept as sealed objects.

One message holds many frames of one attempt: `{"first": n, "frames": [...]}` on `out.<org>.<task>-<attempt>`.
Frames of an attempt are numbered from 1 without a gap; the append is guarded on its subject.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import orjson
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError

from remote_claude.contracts.refusals import Refusal
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.jetstream.direct_get import DirectReader
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.jetstream.ordered_consumer import Reader
from remote_claude.eventsourcing.log import LogUnavailable
from remote_claude.eventsourcing.message_frames import parse_headers, status
from remote_claude.eventsourcing.stats import LogStats

STREAM = "OUTPUT"
WRONG_LAST_SEQUENCE = 10071
LOOKS_AGAIN_S = 0.5
ANSWERS_WITHIN_S = 10.0
"""How long a write is tried while the broker is away."""
PAGE, PAGE_BYTES = 256, 1024 * 1024
TIMEOUT_S = 5.0
HEARTBEAT_S = 2.0
READS_AT_ONCE = 16


class OutputConflict(Exception):
    """Somebody else has written to this attempt's output: a stale runner has been fenced off."""

    code = "output_conflict"


class OutputUnavailable(Refusal):
    """The broker gave no answer in time; `reason` is for the log of the server."""

    code = "broker_unavailable"
    status = 503

    def __init__(self, reason: str) -> None:
        super().__init__("The broker does not answer. Nothing is lost: ask again in a moment.")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """Frames `first`, `first + 1`, ... of one attempt, in order."""

    org: str
    task: str
    attempt: int
    first: int
    frames: list[dict[str, Any]]


class OutputStream:
    """Writes and reads the frames of attempts.

    One request waits `timeout_s` for its answer; a write is tried for `answers_within_s`.
    """

    def __init__(
        self, nats: Client, *, timeout_s: float = TIMEOUT_S, answers_within_s: float = ANSWERS_WITHIN_S
    ) -> None:
        self._nats, self._timeout_s = nats, timeout_s
        self.answers_within_s = answers_within_s
        self._js = nats.jetstream(timeout=timeout_s)
        self._places = _Places()
        self._reading = asyncio.Semaphore(READS_AT_ONCE)

    def writer(self, org: str, task: str, attempt: int) -> OutputWriter:
        """The writer of a new attempt's output."""
        return OutputWriter(self, f"out.{org}.{task}-{attempt}")

    async def read(
        self, org: str, task: str, attempt: int, *, after: int = 0
    ) -> AsyncGenerator[OutputChunk, None]:
        """The chunks of an attempt that hold frames after number `after`, in order, up to the end as it is then.

        Raises `OutputUnavailable`.
        """
        subject = f"out.{org}.{task}-{attempt}"
        sequence = self._places.before(subject, after)
        while True:
            replies, pending = await self._page(subject, sequence)
            for _, data in replies:
                body = orjson.loads(data)
                chunk = OutputChunk(org, task, attempt, body["first"], body["frames"])
                if chunk.first + len(chunk.frames) - 1 > after:
                    yield chunk
            if replies:
                sequence = int(parse_headers(replies[-1][0])["Nats-Sequence"])
                self._places.note(subject, chunk.first, sequence)
                sequence += 1
            if not pending:
                return

    async def end(self, org: str, task: str, attempt: int) -> int:
        """The number of an attempt's last frame by the leader's word, 0 for none: who reads may be behind it."""
        try:
            _, data = await self.last(f"out.{org}.{task}-{attempt}")
        except NotFoundError:
            return 0
        body = orjson.loads(data)
        last: int = body["first"] + len(body["frames"]) - 1
        return last

    async def follow(self) -> AsyncGenerator[OutputChunk | None, None]:
        """Every chunk of every attempt from now on, in order; for one fan-out per process. Never ends by itself.

        None means that what is written from here on will come. It is the first thing that comes, and comes again
        after the broker was lost: what was written in between has to be read.
        """
        wire = Wire.over(self._nats)
        direct = DirectReader(wire, STREAM, _Frames(), timeout=self._timeout_s)
        reader = Reader(
            wire,
            direct,
            STREAM,
            _Frames(),
            LogStats(),
            name="output",
            heartbeat=HEARTBEAT_S,
            timeout=self._timeout_s,
        )
        while True:
            epoch = wire.epoch
            async with aclosing(reader.batches(await direct.last_position())) as batches:
                await anext(batches)  # there is a consumer now
                yield None
                async for messages, _ in batches:
                    if wire.epoch != epoch:  # the broker may have lost some, and counted on from before them
                        break
                    for message in messages:
                        yield self._chunk(message)

    def _chunk(self, message: RecordedEvent) -> OutputChunk:
        _, org, name = message.stream.split(".")
        task, _, attempt = name.rpartition("-")
        body = orjson.loads(message.data)
        self._places.note(message.stream, body["first"], message.position)
        return OutputChunk(org, task, int(attempt), body["first"], body["frames"])

    async def publish(self, subject: str, data: bytes, expected: int) -> int:
        """One guarded write; returns its sequence. Raises `OutputConflict`, `NotPermitted`."""
        try:
            publishing = self._js.publish(
                subject,
                data,
                stream=STREAM,
                headers={"Nats-Expected-Last-Subject-Sequence": str(expected)},
            )
            ack = await Wire.over(self._nats).permitted(subject, publishing)
        except APIError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                raise OutputConflict(subject) from error
            raise
        return ack.seq

    async def last(self, subject: str) -> tuple[int, bytes]:
        """The last write of one subject: its sequence and what was written."""
        message = await self._js.get_last_msg(STREAM, subject)
        return message.seq or 0, message.data or b""

    async def _page(self, subject: str, sequence: int) -> tuple[list[tuple[bytes, bytes]], int]:
        """Messages of one subject from a sequence on, as header block and payload; and how many there are after them."""
        request = {"batch": PAGE, "max_bytes": PAGE_BYTES, "seq": sequence, "next_by_subj": subject}
        try:
            async with self._reading:
                replies = await Wire.over(self._nats).gather(
                    f"$JS.API.DIRECT.GET.{STREAM}",
                    orjson.dumps(request),
                    last=lambda headers, _: status(headers) > 0,
                    timeout=self._timeout_s,
                )
        except LogUnavailable as error:
            raise OutputUnavailable(str(error)) from error
        end = replies.pop()[0]
        code = status(end)
        if code == 404:
            return [], 0
        if code != 204:
            raise OutputUnavailable(f"a read of {subject} was answered {code}")
        return replies, int(parse_headers(end).get("Nats-Num-Pending", 0))


class _Frames:
    """A codec for what is no event."""

    def encode(self, event: Any) -> tuple[str, int, bytes]:
        raise NotImplementedError

    def decode(self, type: str, version: int, data: bytes) -> Any:
        return orjson.loads(data)


class _Places:
    """Where in the stream some frames are, so that a reader that goes on need not start over. Bounded; forgets the oldest."""

    SUBJECTS, EACH = 1000, 64

    def __init__(self) -> None:
        self._subjects: OrderedDict[str, list[tuple[int, int]]] = OrderedDict()

    def before(self, subject: str, frame: int) -> int:
        """A sequence at or before the first chunk that goes beyond `frame`."""
        places = self._subjects.get(subject, [])
        index = bisect_right(places, (frame + 1, 2**63))
        return places[index - 1][1] if index else 1

    def note(self, subject: str, first: int, sequence: int) -> None:
        """The chunk that begins with frame `first` is at `sequence`."""
        places = self._subjects.setdefault(subject, [])
        self._subjects.move_to_end(subject)
        if not places or places[-1][0] < first:
            places.append((first, sequence))
        if len(places) > self.EACH:
            del places[1::2]
        if len(self._subjects) > self.SUBJECTS:
            self._subjects.popitem(last=False)


class OutputWriter:
    """Appends to one attempt's output. Not for use by two tasks at once."""

    def __init__(self, stream: OutputStream, subject: str) -> None:
        self._stream, self._subject = stream, subject
        self._sequence = 0
        self._landed: list[dict[str, Any]] = []
        """What the broker has of a write that gave up after that."""
        self._undecided: list[dict[str, Any]] = []
        """What may have landed, or land yet: no answer has come."""
        self.frames = 0
        """Frames written so far, which is the number of the last one."""

    async def write(self, frames: Sequence[dict[str, Any]]) -> None:
        """Append frames; when this returns, the broker has them. Raises `OutputConflict`.

        When it has given up without an answer the next write has to begin with the same frames, since they may have
        landed: they go first, in a message of their own.
        """
        sent = self._landed + self._undecided
        given, rest = list(frames[: len(sent)]), list(frames[len(sent) :])
        if orjson.dumps(given) != orjson.dumps(sent):
            raise OutputConflict(f"{self._subject}: other frames have been sent after number {self.frames}")
        for message in (self._undecided, rest):
            if message:
                await self._send(message)
        self.frames += len(frames)
        self._landed = []

    async def _send(self, frames: list[dict[str, Any]]) -> None:
        """Append one message. Without an answer the same is sent again; then it may have landed before."""
        data = orjson.dumps({"first": self.frames + len(self._landed) + 1, "frames": frames})
        loop = asyncio.get_running_loop()
        until = loop.time() + self._stream.answers_within_s
        while True:
            try:
                self._sequence = await self._stream.publish(self._subject, data, self._sequence)
                break
            except OutputConflict:
                sequence, last = await self._stream.last(self._subject) if self._undecided else (0, b"")
                if last != data:
                    raise
                self._sequence = sequence
                break
            except (NatsError, TimeoutError):
                self._undecided = frames
                if loop.time() > until:
                    raise
                await asyncio.sleep(LOOKS_AGAIN_S)
        self._landed, self._undecided = self._landed + frames, []
