"""The runner's end of the line to one worker: it serves `protocol` on a unix socket, for one attempt.

Nothing that arrives is believed: sizes are bounded, messages checked, the order of frames too. A connection that
does not keep to the protocol is closed with the reason; the attempt's `result` then waits for a better one, until
the worker has been silent for a lease.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson
import structlog
from websockets.asyncio.server import Server, ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed

from remote_claude.runner import frames, protocol, unix_sockets
from remote_claude.runner.protocol import (
    Ack,
    Alive,
    Blob,
    Close,
    Frames,
    Hello,
    Lease,
    Result,
    Resume,
    Stop,
    Task,
)
from remote_claude.runner.wire import Malformed

log = structlog.get_logger(__name__)

OnFrames: TypeAlias = Callable[[int, list[dict[str, Any]]], Awaitable[None]]
"""Stores frames, given the number of the first; when it returns, they are acknowledged. It is never called twice
at once, and never with a gap. If it raises, the connection drops and the worker sends them again."""

MAX_CONNECTIONS = 8
MAX_SUMMARY = frames.MAX_TEXT
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")


class WorkerLost(Exception):
    """The worker has not come, or not come back, or said nothing, for one lease."""

    code = "worker_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerResult:
    """What the worker says came of it: checked for form, not for truth."""

    outcome: Literal["succeeded", "failed"]
    summary: str
    exit_code: int | None = None
    reason: str | None = None
    base: str | None = None
    sent: str | None = None
    commit: str | None = None
    bundle: Path | None = None
    patch: Path | None = None


class _Violation(Exception):
    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class WorkerLink:
    """Serves one attempt while it is entered.

    `inbox` is a folder of this attempt alone: what the worker sends lands there. `token` goes to the worker by
    way of its environment, and has to be back within `arrival_s`. `result` is done when the worker has said what came of it, or fails with `WorkerLost`.
    """

    def __init__(
        self,
        socket: Path,
        *,
        task: Task,
        inbox: Path,
        on_frames: OnFrames,
        bundle: Path | None = None,
        max_blob_bytes: int = 1 << 30,
        arrival_s: float = 60,
    ) -> None:
        self._socket, self._inbox, self._bundle = socket, inbox, bundle
        self._session_key = secrets.token_urlsafe(32)
        self._task = replace(task, session_key=self._session_key, repository=bundle is not None)
        self._on_frames, self._max_blob_bytes, self._arrival_s = on_frames, max_blob_bytes, arrival_s
        self._server: Server | None = None
        self._connection: ServerConnection | None = None
        self._talking = asyncio.Lock()
        self._delivering = False
        self._stop: Stop | None = None
        self._token_spent = False
        self._files: dict[str, Path] = {}
        self._absence: asyncio.TimerHandle | None = None
        self.token = secrets.token_urlsafe(32)
        self.acked = 0
        """Frames stored so far, which is the number of the last one."""
        self.connected = asyncio.Event()
        """Set for good when a worker has exchanged its token."""
        self.result: asyncio.Future[WorkerResult] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> WorkerLink:
        self._server = await unix_serve(
            self._serve,
            unix_sockets.prepare(self._socket),
            create_connection=_bounded(),
            compression=None,
            ping_interval=None,  # `lease` and `alive` say who is there
            max_size=protocol.MAX_MESSAGE,
            max_queue=4,
            close_timeout=1,
            server_header=None,
        )
        unix_sockets.open_to_sandbox(self._socket)
        self._expect_worker(self._arrival_s)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._expect_no_worker()
        if not self.result.cancel() and not self.result.cancelled():
            self.result.exception()  # whoever wanted it has it
        self._server.close(code=Close.OVER, reason="the attempt is over")
        await self._server.wait_closed()
        self._socket.unlink(missing_ok=True)

    async def renew(self, seconds: float) -> None:
        """The worker may go on for so long from when it hears this. It ends by itself when it hears no more."""
        await self._say(Lease(seconds=seconds))

    async def stop(self, reason: str) -> None:
        """Ask the worker to end the agent; now, and whenever it connects again."""
        self._stop = Stop(reason=reason)
        await self._say(self._stop)

    async def _say(self, message: Lease | Stop) -> None:
        """Say it without waiting for long; behind a piece of the bundle, which has its own time, it may come late."""
        if (ws := self._connection) is None:
            return
        try:
            async with asyncio.timeout(min(1, self._task.lease_s)):
                await ws.send(protocol.encode(message))
        except TimeoutError:
            if not self._delivering:
                ws.transport.abort()
        except ConnectionClosed:
            return  # it will be back, or it is lost: the timer knows

    async def _serve(self, ws: ServerConnection) -> None:
        try:
            first = await self._hello(ws)
            if self._connection is not None:
                await self._connection.close(Close.SUPERSEDED, "the session goes on over a newer connection")
            async with self._talking:  # the old connection's last frames are stored, and counted, before
                self._connection = ws
                self._expect_no_worker()
                try:
                    await self._talk(ws, first)
                finally:
                    self._connection = None
                    self._expect_worker(self._task.lease_s)
        except ConnectionClosed:
            return
        except Malformed as error:
            await self._hang_up(ws, Close.MALFORMED, str(error))
        except _Violation as error:
            await self._hang_up(ws, error.code, str(error))

    async def _hang_up(self, ws: ServerConnection, code: Close, reason: str) -> None:
        task = self._task
        log.warning(
            "hung up on a worker", task=task.task, attempt=task.attempt, code=int(code), reason=reason
        )
        await ws.close(code, reason.encode(errors="replace")[:120].decode(errors="ignore"))

    async def _hello(self, ws: ServerConnection) -> Hello:
        hello = protocol.decode(await self._receive(ws), Hello)
        if hello.version != protocol.VERSION:
            raise _Violation(Close.MALFORMED, f"this runner speaks version {protocol.VERSION}")
        if hello.session_key is not None:
            good = self._token_spent and hmac.compare_digest(
                hello.session_key.encode(), self._session_key.encode()
            )
        else:
            offered = (hello.token or "").encode(errors="replace")
            good = not self._token_spent and hmac.compare_digest(offered, self.token.encode())
            self._token_spent = self._token_spent or good
        if self.result.done() and (self.result.cancelled() or self.result.exception()):
            raise _Violation(Close.OVER, "the attempt is over")
        if not good:
            raise _Violation(Close.UNAUTHORIZED, "the token is spent or wrong")
        return hello

    async def _talk(self, ws: ServerConnection, hello: Hello) -> None:
        if hello.prepared:
            await self._send(ws, protocol.encode(Resume(acked=self.acked)))
        else:
            await self._send(ws, protocol.encode(self._task))
            if self._bundle is not None:
                header = await asyncio.to_thread(protocol.describe, protocol.SOURCE_BUNDLE, self._bundle)
                self._delivering = True
                try:
                    await protocol.send_blob(partial(self._send, ws), header, self._bundle)
                finally:
                    self._delivering = False
        self.connected.set()
        if self._stop is not None:
            await self._send(ws, protocol.encode(self._stop))
        while True:
            match protocol.decode(await self._receive(ws), Frames, Alive, Blob, Result):
                case Frames() as message:
                    await self._store(message)
                    await self._send(ws, protocol.encode(Ack(seq=self.acked)))
                case Blob() as header:
                    await self._take_blob(ws, header)
                case Result() as result:
                    self._finish(result)
                    await self._send(ws, protocol.encode(Ack(seq=self.acked, result=True)))
                case Alive():
                    continue

    async def _receive(self, ws: ServerConnection) -> object:
        return _parse(await self._read(ws))

    async def _piece(self, ws: ServerConnection) -> bytes:
        """The next bytes of a blob; that the worker is alive may be said between them."""
        while isinstance(data := await self._read(ws), str):
            protocol.decode(_parse(data), Alive)
        return data

    async def _read(self, ws: ServerConnection) -> str | bytes:
        try:
            async with asyncio.timeout(self._task.lease_s):
                return await ws.recv()
        except TimeoutError:
            raise _Violation(Close.SILENT, "nothing was said for a whole lease") from None

    async def _send(self, ws: ServerConnection, data: str | bytes) -> None:
        """Send, unless the other side does not read."""
        try:
            async with asyncio.timeout(self._task.lease_s):
                await ws.send(data)
        except TimeoutError:
            ws.transport.abort()

    async def _store(self, message: Frames) -> None:
        if message.seq > self.acked + 1:
            raise _Violation(Close.GAP, f"frame {self.acked + 1} is next, not {message.seq}")
        if self.result.done():
            raise _Violation(Close.OVER, "the result has been said")
        new = message.frames[self.acked + 1 - message.seq :]
        for frame in new:
            frames.decode(frame)
        if new:
            await self._on_frames(self.acked + 1, new)
            self.acked += len(new)

    async def _take_blob(self, ws: ServerConnection, header: Blob) -> None:
        if header.name not in (protocol.RESULT_BUNDLE, protocol.CHANGES_PATCH):
            raise Malformed(f"nobody asked for {header.name[:40]!r}")
        if header.size > self._max_blob_bytes:
            raise _Violation(
                Close.TOO_LARGE, f"{header.name} is over the limit of {self._max_blob_bytes} bytes"
            )
        if self.result.done():
            raise _Violation(Close.OVER, "the result has been said")
        path = self._inbox / header.name
        await protocol.receive_blob(partial(self._piece, ws), header, path)
        self._files[header.name] = path

    def _finish(self, said: Result) -> None:
        for commit in (said.base, said.sent, said.commit):
            if commit is not None and not _COMMIT.fullmatch(commit):
                raise Malformed("a commit is 40 or 64 hexadecimal digits")
        if said.reason is not None and not _REASON.fullmatch(said.reason):
            raise Malformed("a reason is a short code")
        if frames.size(said.summary) > MAX_SUMMARY:
            raise Malformed("the summary is too long")
        if not self.result.done():  # else it is said again: the acknowledgement was lost
            self.result.set_result(
                WorkerResult(
                    outcome=said.outcome,
                    summary=said.summary.replace("\0", "\ufffd"),
                    exit_code=said.exit_code,
                    reason=said.reason,
                    base=said.base,
                    sent=said.sent,
                    commit=said.commit,
                    bundle=self._files.get(protocol.RESULT_BUNDLE),
                    patch=self._files.get(protocol.CHANGES_PATCH),
                )
            )

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


def _parse(data: str | bytes) -> object:
    if isinstance(data, bytes):
        raise Malformed("bytes that no blob announced")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"not JSON: {error}") from error


def _bounded() -> type[ServerConnection]:
    """Connections that refuse to be one too many: what is inside must not use up this process's descriptors."""
    alive: set[ServerConnection] = set()

    class Bounded(ServerConnection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            alive.add(self)
            if len(alive) > MAX_CONNECTIONS:
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            alive.discard(self)
            super().connection_lost(exc)

    return Bounded
