"""One listener for all workers of a runner: it reads the first message and hands the connection to its session.

A worker proves which attempt it belongs to by its token, once, and by its session key from then on. Until then
a connection belongs to nobody: it has little time, and of those there are few.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog
from websockets.asyncio.server import Server, ServerConnection, unix_serve

from remote_claude.runner import unix_sockets
from remote_claude.runner.sessions.channel import Channel, ChannelClosed, SocketChannel
from remote_claude.runner.sessions.worker_session import ProtocolViolation, WorkerSession
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.codec import Malformed
from remote_claude.worker.protocol.messages import Close, Hello

log = structlog.get_logger(__name__)

MAX_STRANGERS = 64
"""Connections that have not yet said whose they are. One more ends the oldest."""
HELLO_S = 10.0
WARNINGS = 10
"""Refusals of strangers that are logged; from then on one in a thousand."""


class WorkerListener:
    """Listens from `open` to `close` on the unix socket `socket`; `serve` takes connections from elsewhere too.

    The socket is in a folder of its own with a short path; a link in `folder` records it, so that the next start
    clears away what a killed process has left.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sessions: dict[str, WorkerSession] = {}
        """By token until that is spent, and by session key."""
        self._strangers: OrderedDict[object, Callable[[], None]] = OrderedDict()
        """Connections that belong to no session yet, the oldest first, and how each is cut."""
        self._server: Server | None = None
        self._place: Path | None = None
        self._refused = 0

    async def open(self) -> None:
        """Listen. One that listens already goes on."""
        if self._server is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        record = self._folder / "sockets"
        if record.is_symlink():
            left = record.readlink()
            if left.exists() and left.stat().st_uid == os.geteuid():
                shutil.rmtree(left)
            record.unlink()
        self._place = Path(tempfile.mkdtemp(prefix="rclaude-"))  # a home's path may be too long for a socket
        record.symlink_to(self._place)
        self._server = await unix_serve(
            lambda ws: self.serve(SocketChannel(ws)),
            unix_sockets.prepare(self.socket),
            create_connection=self._bounded(),
            compression=None,
            ping_interval=None,  # `lease` and `alive` show that the other end is there
            max_size=protocol.MAX_MESSAGE,
            max_queue=4,
            close_timeout=1,
            server_header=None,
        )
        unix_sockets.open_to_sandbox(self.socket)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is None or self._place is None:
            return
        self._server.close(code=Close.SILENT, reason="the runner ends")
        await self._server.wait_closed()
        await asyncio.to_thread(shutil.rmtree, self._place, ignore_errors=True)
        (self._folder / "sockets").unlink(missing_ok=True)
        self._server = self._place = None

    @property
    def socket(self) -> Path:
        """The unix socket, for sandboxes of this machine."""
        assert self._place is not None, "the listener is opened first"
        return self._place / "runner.sock"

    def private_socket(self, name: str) -> Path:
        """A path for a socket of this runner that no sandbox sees."""
        assert self._place is not None, "the listener is opened first"
        return self._place / f"{name}.sock"

    @contextlib.asynccontextmanager
    async def attended(self, session: WorkerSession) -> AsyncIterator[WorkerSession]:
        """Take the connections of this session's worker."""
        keys = (session.token, session.session_key)
        self._sessions |= dict.fromkeys(keys, session)
        try:
            async with session:
                yield session
        finally:
            for key in keys:
                self._sessions.pop(key, None)

    async def serve(self, channel: Channel) -> None:
        """One connection, from its first message to its end."""
        try:
            session, hello = await self._identify(channel)
            await session.serve(channel, hello)
        except ChannelClosed:
            return
        except Malformed as error:
            await self._refuse(channel, Close.MALFORMED, str(error))
        except ProtocolViolation as error:
            await self._refuse(channel, error.code, str(error))

    async def _identify(self, channel: Channel) -> tuple[WorkerSession, Hello]:
        key = channel.ws if isinstance(channel, SocketChannel) else channel
        self._admit_stranger(key, channel.abort)
        try:
            async with asyncio.timeout(HELLO_S):
                hello = protocol.decode(await channel.receive(), Hello)
        except TimeoutError:
            raise ProtocolViolation(Close.SILENT, f"no hello within {HELLO_S:g} s") from None
        finally:
            self._strangers.pop(key, None)
        if hello.version not in protocol.VERSIONS:
            spoken = " and ".join(sorted(protocol.VERSIONS))
            raise ProtocolViolation(Close.MALFORMED, f"this runner speaks version {spoken} of the protocol")
        # A dictionary looks secrets up by a keyed hash: that they are compared shows nothing of them.
        session = self._sessions.get(hello.session_key or hello.token or "")
        if session is None or not session.admits(hello):
            raise ProtocolViolation(Close.UNAUTHORIZED, "the token is spent or wrong")
        return session, hello

    async def _refuse(self, channel: Channel, code: Close, reason: str) -> None:
        self._refused += 1
        if self._refused <= WARNINGS or self._refused % 1000 == 0:
            log.warning("closed a worker's connection", code=int(code), reason=reason, refused=self._refused)
        await channel.close(code, reason.encode(errors="replace")[:120].decode(errors="ignore"))

    def _admit_stranger(self, key: object, abort: Callable[[], None]) -> None:
        self._strangers[key] = abort
        if len(self._strangers) > MAX_STRANGERS:
            self._strangers.popitem(last=False)[1]()

    def _bounded(self) -> type[ServerConnection]:
        """Connections that count from before their handshake: a sandbox must not use up this process's descriptors."""
        listener = self

        class Bounded(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                listener._admit_stranger(self, self.transport.abort)

            def connection_lost(self, exc: Exception | None) -> None:
                listener._strangers.pop(self, None)
                super().connection_lost(exc)

        return Bounded
