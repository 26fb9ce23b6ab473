"""Agent output: frames on the stream `OUTPUT`. Not facts: they age out there and are kept as sealed objects.

One message holds many frames of one attempt: `{"first": n, "frames": [...]}` on `out.<org>.<task>-<attempt>`.
Frames of an attempt are numbered from 1 without a gap; the append is guarded on its subject.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

STREAM = "OUTPUT"
WRONG_LAST_SEQUENCE = 10071
LOOKS_AGAIN_S = 0.5
ANSWERS_WITHIN_S = 10.0
"""How long a write is tried while the broker is away."""


class OutputConflict(Exception):
    """Somebody else has written to this attempt's output: a stale runner has been fenced off."""

    code = "output_conflict"


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """Frames `first`, `first + 1`, ... of one attempt, in order."""

    org: str
    task: str
    attempt: int
    first: int
    frames: list[dict[str, Any]]


class OutputStream:
    """Writes and reads the frames of attempts."""

    def __init__(self, nats: Client) -> None:
        self._nats = nats
        self._js = nats.jetstream()

    def writer(self, org: str, task: str, attempt: int) -> OutputWriter:
        """The writer of a new attempt's output."""
        return OutputWriter(self, f"out.{org}.{task}-{attempt}")

    async def read(self, org: str, task: str, attempt: int, *, after: int = 0) -> list[OutputChunk]:
        """The chunks of an attempt that hold frames after number `after`, in order."""
        return [
            chunk
            for message in await self._history(f"out.{org}.{task}-{attempt}")
            if (chunk := _chunk(message)).first + len(chunk.frames) - 1 > after
        ]

    async def follow(self) -> AsyncGenerator[OutputChunk | None, None]:
        """Every chunk of every attempt from now on, in order; for one fan-out per process. Never ends by itself.

        None means that what is written from here on will come. It is the first thing that comes, and comes again
        after the broker was lost: what was written in between has to be read.
        """
        while True:
            arrived: asyncio.Queue[Msg] = asyncio.Queue()
            epoch = self._nats.stats["reconnects"]
            subscription = await self._js.subscribe(
                "out.>",
                stream=STREAM,
                cb=arrived.put,
                ordered_consumer=True,
                config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW),
            )
            try:
                yield None
                while self._nats.stats["reconnects"] == epoch:
                    with contextlib.suppress(TimeoutError):
                        yield _chunk(await asyncio.wait_for(arrived.get(), LOOKS_AGAIN_S))
                    while not arrived.empty():
                        yield _chunk(arrived.get_nowait())
            finally:
                with contextlib.suppress(NatsError):
                    await subscription.unsubscribe()

    async def publish(self, subject: str, data: bytes, expected: int) -> int:
        """One guarded write; returns its sequence. Raises `OutputConflict`."""
        try:
            ack = await self._js.publish(
                subject,
                data,
                stream=STREAM,
                headers={"Nats-Expected-Last-Subject-Sequence": str(expected)},
            )
        except APIError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                raise OutputConflict(subject) from error
            raise
        return ack.seq

    async def last(self, subject: str) -> tuple[int, bytes]:
        """The last write of one subject: its sequence and what was written."""
        message = await self._js.get_last_msg(STREAM, subject)
        return message.seq or 0, message.data or b""

    async def _history(self, subject: str) -> list[Msg]:
        """All messages of one subject, by direct get."""
        inbox = self._nats.new_inbox()
        subscription = await self._nats.subscribe(inbox)
        messages: list[Msg] = []
        sequence = 1
        try:
            while True:
                request = orjson.dumps({"batch": 256, "seq": sequence, "next_by_subj": subject})
                await self._nats.publish(f"$JS.API.DIRECT.GET.{STREAM}", request, reply=inbox)
                while True:
                    message = await subscription.next_msg(timeout=5)
                    headers = message.headers or {}
                    if status := headers.get("Status"):
                        break
                    messages.append(message)
                    sequence = int(headers["Nats-Sequence"]) + 1
                if status == "404" or int(headers.get("Nats-Num-Pending", "0")) == 0:
                    return messages
        finally:
            await subscription.unsubscribe()


class OutputWriter:
    """Appends to one attempt's output. Not for use by two tasks at once."""

    def __init__(self, stream: OutputStream, subject: str) -> None:
        self._stream, self._subject = stream, subject
        self._sequence = 0
        self.frames = 0
        """Frames written so far, which is the number of the last one."""

    async def write(self, frames: Sequence[dict[str, Any]]) -> None:
        """Append frames; when this returns, the broker has them. Raises `OutputConflict`."""
        data = orjson.dumps({"first": self.frames + 1, "frames": frames})
        self._sequence = await self._published(data)
        self.frames += len(frames)

    async def _published(self, data: bytes) -> int:
        """The sequence of the message. Without an answer the same is sent again; then it may have landed before."""
        loop = asyncio.get_running_loop()
        until, in_doubt = loop.time() + ANSWERS_WITHIN_S, False
        while True:
            try:
                return await self._stream.publish(self._subject, data, self._sequence)
            except OutputConflict:
                sequence, last = await self._stream.last(self._subject) if in_doubt else (0, b"")
                if last != data:
                    raise
                return sequence
            except (NatsError, TimeoutError):
                in_doubt = True
                if loop.time() > until:
                    raise
                await asyncio.sleep(LOOKS_AGAIN_S)


def _chunk(message: Msg) -> OutputChunk:
    subject = (message.headers or {}).get("Nats-Subject", message.subject)
    _, org, name = subject.split(".")
    task, _, attempt = name.rpartition("-")
    body = orjson.loads(message.data)
    return OutputChunk(org, task, int(attempt), body["first"], body["frames"])
