"""The session with one worker: it survives dropped connections, for one attempt.

Nothing that arrives is believed: sizes are bounded, messages checked, the order of frames too. A connection that
does not keep to the protocol is closed with the reason; the attempt's `result` then waits for a better one, until
the worker has been silent for a lease.
"""

from __future__ import annotations

import asyncio
import secrets
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import structlog
from msgspec.structs import replace

from remote_claude.concurrency.tasks import end, first_of
from remote_claude.runner.sessions.channel import Channel, ChannelClosed
from remote_claude.runner.sessions.openings import StreamOpenings
from remote_claude.runner.sessions.worker_result import WorkerResult, checked_result
from remote_claude.worker.protocol import frames
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.codec import Malformed
from remote_claude.worker.protocol.messages import (
    Ack,
    Alive,
    Assignment,
    Blob,
    CheckpointSent,
    Close,
    Finished,
    Frames,
    Hello,
    LeaseTime,
    Open,
    PermissionAnswer,
    Resume,
    Saved,
    Stop,
    StreamOpened,
    TaskMessage,
)

log = structlog.get_logger(__name__)

OnFrames: TypeAlias = Callable[[int, list[dict[str, Any]]], Awaitable[None]]
"""Stores frames, given the number of the first; when it returns, they are acknowledged. It is never called twice
at once, and never with a gap. If it raises, the connection drops and the worker sends them again."""
OnCheckpoint: TypeAlias = Callable[[CheckpointSent, Path], Awaitable[None]]
"""Stores a checkpoint; when it returns, it is acknowledged."""
OpenStream: TypeAlias = Callable[[], Awaitable[tuple[StreamReader, StreamWriter]]]

MAX_STREAMS = 64
"""At one time, of one worker."""
STREAM_CHUNK = 64 * 1024
_WORKERS_FILES = (protocol.RESULT_BUNDLE, protocol.CHANGES_PATCH, protocol.CHECKPOINT, protocol.ARTIFACTS)


class WorkerLost(Exception):
    """The worker has not connected, or not connected again, or sent nothing, for one lease."""

    code = "worker_lost"


class ProtocolViolation(Exception):
    """The worker does not keep to the protocol; the connection is closed with this code."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class WorkerSession:
    """One attempt's worker, while it is entered and its listener attends to it.

    `inbox` is a folder of this attempt alone: what the worker sends lands there. `token` goes to the worker by
    its environment, and has to be back within `arrival_s`. `result` is done when the worker has sent its result,
    or fails with `WorkerLost`. `streams` are the destinations that the worker may open connections to.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        inbox: Path,
        on_frames: OnFrames,
        on_checkpoint: OnCheckpoint | None = None,
        bundle: Path | None = None,
        checkpoint: Path | None = None,
        streams: Mapping[str, OpenStream] | None = None,
        max_blob_bytes: int = 1 << 30,
        arrival_s: float = 60,
    ) -> None:
        self._inbox, self._bundle, self._checkpoint = inbox, bundle, checkpoint
        self._streams = dict(streams or {})
        self.session_key = secrets.token_urlsafe(32)
        self._assignment = replace(
            assignment,
            session_key=self.session_key,
            repository=bundle is not None,
            checkpoint=checkpoint is not None,
            saves=on_checkpoint is not None,
            streams=tuple(self._streams),
        )
        self._on_frames, self._on_checkpoint = on_frames, on_checkpoint
        self._max_blob_bytes, self._arrival_s = max_blob_bytes, arrival_s
        self._connection: Channel | None = None
        self._opened: set[Channel] = set()
        """Connections that carry streams."""
        self.openings = StreamOpenings(self._control)
        """Connections of people into the sandbox."""
        self._talking = asyncio.Lock()
        self._delivering = False
        self._stop: Stop | None = None
        self._token_spent = False
        self._files: dict[str, Path] = {}
        self._messages: list[TaskMessage] = []
        self._answers: list[PermissionAnswer] = []
        self._absence: asyncio.TimerHandle | None = None
        self.token = secrets.token_urlsafe(32)
        self.acked = 0
        """Frames stored so far, which is the number of the last one."""
        self.connected = asyncio.Event()
        """Set for good when a worker has exchanged its token."""
        self.result: asyncio.Future[WorkerResult] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> WorkerSession:
        self._expect_worker(self._arrival_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._expect_no_worker()
        if not self.result.cancel() and not self.result.cancelled():
            self.result.exception()  # the caller has read it
        open_ones = [c for c in (self._connection, *self._opened) if c is not None]
        await asyncio.gather(*(self._close(one, Close.OVER, "the attempt is over") for one in open_ones))

    def admits(self, hello: Hello) -> bool:
        """Whether this is its worker; spends the token. Raises `ProtocolViolation` once the attempt is over."""
        if hello.session_key is not None:
            good = self._token_spent and hello.session_key == self.session_key
        else:
            good = not self._token_spent and hello.token == self.token and hello.stream is None
            self._token_spent = self._token_spent or good
        if self.result.done() and (self.result.cancelled() or self.result.exception()):
            raise ProtocolViolation(Close.OVER, "the attempt is over")
        return good

    async def renew(self, seconds: float) -> None:
        """The worker may go on for so long after it receives this. Without another one it ends by itself."""
        await self._control(LeaseTime(seconds=seconds))

    async def stop(self, reason: str) -> None:
        """Ask the worker to end the agent; now, and whenever it connects again."""
        self._stop = Stop(reason=reason)
        await self._control(self._stop)

    async def send_message(self, message: TaskMessage) -> None:
        """Pass a person's message on; now, or when the worker connects again."""
        self._messages.append(message)
        await self._control(message)

    async def answer_permission(self, answer: PermissionAnswer) -> None:
        """Pass a person's answer on; now, and whenever the worker connects again."""
        self._answers.append(answer)
        await self._control(answer)

    async def _control(self, message: LeaseTime | Stop | TaskMessage | PermissionAnswer | Open) -> None:
        """Send it without waiting for long; behind a piece of the bundle, which has its own time, it may come late."""
        if (channel := self._connection) is None:
            return
        try:
            async with asyncio.timeout(min(1, self._assignment.lease_s)):
                await channel.send(protocol.encode(message))
        except TimeoutError:
            if not self._delivering:
                channel.abort()
        except ChannelClosed:
            return  # the worker connects again, or it is lost: the timer decides

    async def serve(self, channel: Channel, hello: Hello) -> None:
        """One connection of this worker. Raises `ChannelClosed`, `Malformed`, `ProtocolViolation`."""
        if hello.stream is not None:
            if not await self.openings.take(channel, hello.stream):
                await self._carry(channel, hello.stream)
            return
        if self._connection is not None:
            await self._close(
                self._connection, Close.SUPERSEDED, "the session continues on a newer connection"
            )
        async with self._talking:  # the old connection's last frames are stored, and counted, before
            self._connection = channel
            self._expect_no_worker()
            try:
                await self._talk(channel, hello)
            finally:
                self._connection = None
                self._expect_worker(self._assignment.lease_s)

    async def _close(self, channel: Channel, code: Close, reason: str) -> None:
        await channel.close(code, reason)

    async def _talk(self, channel: Channel, hello: Hello) -> None:
        if hello.version == "1" and (
            self._assignment.permission_mode != "all" or self._assignment.model_api != "anthropic"
        ):
            why = "this task asks for permissions, or has a model of another API: its image needs a worker of version 2 of the protocol"
            raise ProtocolViolation(Close.MALFORMED, why)
        if hello.prepared:
            await self._send(channel, protocol.encode(Resume(acked=self.acked)))
        else:
            await self._send(channel, protocol.encode(self._assignment))
            self._delivering = True
            try:
                await self._deliver(channel, protocol.SOURCE_BUNDLE, self._bundle)
                await self._deliver(channel, protocol.CHECKPOINT, self._checkpoint)
            finally:
                self._delivering = False
        self.connected.set()
        for message in self._messages:
            if message.number > hello.messages:
                await self._send(channel, protocol.encode(message))
        for answer in self._answers:
            await self._send(channel, protocol.encode(answer))
        if self._stop is not None:
            await self._send(channel, protocol.encode(self._stop))
        while True:
            match protocol.decode(await self._read(channel), Frames, Alive, Blob, CheckpointSent, Finished):
                case Frames() as batch:
                    await self._store(batch)
                    await self._send(channel, protocol.encode(Ack(seq=self.acked)))
                case Blob() as header:
                    await self._take_blob(channel, header)
                case CheckpointSent() as checkpoint:
                    await self._keep_checkpoint(checkpoint)
                    await self._send(channel, protocol.encode(Saved(turn=checkpoint.turn)))
                case Finished() as result:
                    self._finish(result)
                    await self._send(channel, protocol.encode(Ack(seq=self.acked, result=True)))
                case Alive():
                    continue

    async def _deliver(self, channel: Channel, name: str, path: Path | None) -> None:
        if path is not None:
            header = await asyncio.to_thread(protocol.describe, name, path)
            await protocol.send_blob(partial(self._send, channel), header, path)

    async def _carry(self, channel: Channel, destination: str) -> None:
        """A stream: bytes to and from a destination outside the sandbox, until one end is gone."""
        opening = self._streams.get(destination)
        if opening is None or len(self._opened) >= MAX_STREAMS:
            raise ProtocolViolation(Close.UNAUTHORIZED, "no such stream, or too many")
        self._opened.add(channel)
        try:
            reader, writer = await opening()
        except OSError:
            self._opened.discard(channel)
            return
        outward = asyncio.create_task(_outward(channel, writer))
        inward = asyncio.create_task(_inward(reader, channel))
        try:
            await channel.send(protocol.encode(StreamOpened()))
            await first_of(inward, outward)
            if not inward.done() and not outward.cancelled() and outward.exception() is None:
                await inward  # the worker has sent all it wants to, and waits for the answer
        finally:
            self._opened.discard(channel)
            await end(outward, inward)
            writer.close()
            await channel.close(1000, "")

    async def _piece(self, channel: Channel) -> bytes:
        """The next bytes of a blob; `alive` may come between them."""
        while isinstance(data := await self._read(channel), str):
            protocol.decode(data, Alive)
        return data

    async def _read(self, channel: Channel) -> str | bytes:
        try:
            async with asyncio.timeout(self._assignment.lease_s):
                return await channel.receive()
        except TimeoutError:
            raise ProtocolViolation(Close.SILENT, "nothing was received for a whole lease") from None

    async def _send(self, channel: Channel, data: str | bytes) -> None:
        """Send, unless the other side does not read."""
        try:
            async with asyncio.timeout(self._assignment.lease_s):
                await channel.send(data)
        except TimeoutError:
            channel.abort()

    async def _store(self, message: Frames) -> None:
        if message.seq > self.acked + 1:
            raise ProtocolViolation(Close.GAP, f"frame {self.acked + 1} is next, not {message.seq}")
        if self.result.done():
            raise ProtocolViolation(Close.OVER, "the result has been said")
        new = message.frames[self.acked + 1 - message.seq :]
        for frame in new:
            frames.check(frame)
        if new:
            await self._on_frames(self.acked + 1, [frames.plain(frame) for frame in new])
            self.acked += len(new)

    async def _take_blob(self, channel: Channel, header: Blob) -> None:
        if header.name not in _WORKERS_FILES:
            raise Malformed(f"nobody asked for {header.name[:40]!r}")
        if header.size > self._max_blob_bytes:
            raise ProtocolViolation(
                Close.TOO_LARGE, f"{header.name} is over the limit of {self._max_blob_bytes} bytes"
            )
        if self.result.done():
            raise ProtocolViolation(Close.OVER, "the result has been said")
        path = self._inbox / header.name
        await protocol.receive_blob(partial(self._piece, channel), header, path)
        self._files[header.name] = path

    async def _keep_checkpoint(self, checkpoint: CheckpointSent) -> None:
        archive = self._files.pop(protocol.CHECKPOINT, None)
        if archive is None or self._on_checkpoint is None:
            raise Malformed("a checkpoint needs its archive first")
        await self._on_checkpoint(checkpoint, archive)

    def _finish(self, finished: Finished) -> None:
        result = checked_result(finished, self._files)
        if not self.result.done():  # otherwise it is sent again: the acknowledgement was lost
            self.result.set_result(result)

    def _expect_worker(self, within_s: float) -> None:
        """Time to come, or to come back."""

        def lost() -> None:
            if not self.result.done():
                self.result.set_exception(WorkerLost(f"no worker for {within_s:g} s"))

        self._expect_no_worker()
        self._absence = asyncio.get_running_loop().call_later(within_s, lost)

    def _expect_no_worker(self) -> None:
        if self._absence is not None:
            self._absence.cancel()


async def _outward(channel: Channel, writer: StreamWriter) -> None:
    """From the worker to the destination; ends when the worker has sent all, raises when it is gone."""
    while data := await channel.receive():
        writer.write(data if isinstance(data, bytes) else data.encode())
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _inward(reader: StreamReader, channel: Channel) -> None:
    """From the destination to the worker."""
    with suppress(ConnectionError, ChannelClosed):
        while data := await reader.read(STREAM_CHUNK):
            await channel.send(data)
        await channel.send(b"")
