"""An HTTP proxy for one attempt: CONNECT for what is encrypted, absolute URLs for what is not.

It lets through the hosts of the attempt's policy, connects to checked addresses only, counts bytes, and reports every
connection. What goes through a tunnel it does not read, except to hosts that a secret of the attempt goes to: there it is
the host for the sandbox, by a certificate of the attempt's own authority, and puts secrets in place of placeholders.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import h11
import structlog

from remote_claude.outbound import AddressRefused, AllowedHosts, connect
from remote_claude.outbound.hosts import split_port
from remote_claude.runner import unix_sockets
from remote_claude.runner.egress.authority import Authority
from remote_claude.runner.egress.http_exchange import exchange
from remote_claude.runner.egress.placeholders import Placeholder, Swapper
from remote_claude.runner.egress.policy import NetworkPolicy

log = structlog.get_logger(__name__)

MAX_HEAD = 64 * 1024
MAX_CONNECTIONS = 256
HEAD_S = 30.0
"""How long the head of a request may take."""
PIECE = 64 * 1024
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"upgrade", b"host")
)

Streams = tuple[StreamReader, StreamWriter]
Outcome = Literal["closed", "refused", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A connection that is over, or never came about. `sent` and `received` are bytes, as the sandbox sees them.

    `secrets` are the names of those that were put into its requests.
    """

    host: str
    port: int
    outcome: Outcome
    detail: str = ""
    sent: int = 0
    received: int = 0
    secrets: tuple[str, ...] = ()


class _Refused(Exception):
    """An answer of the proxy's own."""

    def __init__(self, status: int, reason: str, detail: str, *, host: str = "", port: int = 0) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail, self.host, self.port = status, reason, detail, host, port

    def answer(self) -> bytes:
        body = f"{self.detail}\n".encode()
        head = (
            f"HTTP/1.1 {self.status} {self.reason}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        return head.encode() + body


class EgressProxy:
    """`handle` serves one stream that speaks HTTP to a proxy, from wherever it comes; `listen` does for a unix socket.

    `on_connection` is called after every connection, and once for each host and port that is refused.
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        allowed: AllowedHosts,
        on_connection: Callable[[Connected], Awaitable[None]],
        placeholders: Sequence[Placeholder] = (),
        authority: Authority | None = None,
    ) -> None:
        self._placeholders, self._authority = placeholders, authority
        self._policy, self._allowed, self._on_connection = policy, allowed, on_connection
        self._refused: set[tuple[str, int]] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._closed = False
        self.bytes = 0
        """Both ways, tunnelled or not."""

    async def listen(self, socket: Path) -> None:
        """Serve connections to a unix socket."""
        self._server = await asyncio.start_unix_server(
            self._accept, unix_sockets.prepare(socket), limit=MAX_HEAD
        )

    async def listen_on_loopback(self) -> int:
        """Serve connections to a free port of loopback, for programs that know no unix socket; the port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=MAX_HEAD)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Refuse new connections, cut open ones and report them."""
        self._closed = True
        if self._server is not None:
            self._server.close()
        for stream in self._streams:
            stream.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    async def open(self, host: str, port: int) -> tuple[StreamReader, StreamWriter]:
        """A connection that the policy allows, to an address that was checked."""
        if not self._policy.allows(host, port):
            advice = f"allow it with --network default,{host}" + (f":{port}" if port not in (80, 443) else "")
            raise _Refused(
                403,
                "Forbidden",
                f"{host}:{port} is not on the task's network list: {advice}",
                host=host,
                port=port,
            )
        try:
            return await connect(host, port, self._allowed)
        except AddressRefused as error:
            raise _Refused(403, "Forbidden", str(error), host=host, port=port) from error
        except (OSError, TimeoutError, UnicodeError) as error:
            what = str(error) or "it did not answer in time"
            detail = f"{host}:{port} can't be reached: {what}"
            raise _Refused(502, "Bad Gateway", detail, host=host, port=port) from error

    async def handle(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one stream to its end."""
        try:
            if self._closed or len(self._streams) > MAX_CONNECTIONS:
                raise _Refused(503, "Service Unavailable", f"more than {MAX_CONNECTIONS} connections at once")
            await self._serve(reader, writer)
        except _Refused as refused:
            await self._tell_refused(refused)
            writer.write(refused.answer())
            await writer.drain()
        finally:
            writer.close()

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        stream = asyncio.current_task()
        assert stream is not None
        self._streams.add(stream)
        try:
            await self.handle(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # one end hung up, or the attempt is over
        finally:
            self._streams.discard(stream)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        request = await _request(reader)
        host, port = _destination(request)
        far_reader, far_writer = await self.open(host, port)
        counted = _Counted(self)
        swapper = Swapper([one for one in self._placeholders if one.goes_to(host, port)])
        outcome: Outcome = "closed"
        detail = ""
        try:
            if request.method == b"CONNECT" and not swapper.placeholders:
                writer.write(ESTABLISHED)
            elif request.method != b"CONNECT":
                head = _forwarded(request)
                counted.add_sent(len(head))
                far_writer.write(head)
            near, far = (reader, writer), (far_reader, far_writer)
            if request.method == b"CONNECT" and swapper.placeholders:
                await self._swap(host, near, far, swapper, counted)
            else:
                await _join(near, far, counted)
        except (ssl.SSLError, h11.ProtocolError) as error:
            outcome, detail = "failed", f"{host}:{port}: {error}"
        finally:
            far_writer.close()
            over = Connected(
                host=host,
                port=port,
                outcome=outcome,
                detail=detail,
                sent=counted.sent,
                received=counted.received,
                secrets=tuple(sorted(swapper.used)),
            )
            await asyncio.shield(self._on_connection(over))

    async def _swap(
        self, host: str, near: Streams, far: Streams, swapper: Swapper, counted: _Counted
    ) -> None:
        """Be the host for the sandbox, and the sandbox for the host."""
        assert self._authority is not None
        await far[1].start_tls(_trusted(), server_hostname=host)
        context = self._authority.context(host)
        near[1].write(
            ESTABLISHED
        )  # at once before TLS starts: what the sandbox answers earlier would be lost
        await near[1].start_tls(context)
        after = await exchange(near, far, swapper, counted)
        if after is not None:
            near[1].write(after)
            await _join(near, far, counted)

    async def _tell_refused(self, refused: _Refused) -> None:
        if not refused.host or (refused.host, refused.port) in self._refused or len(self._refused) >= 1000:
            return
        self._refused.add((refused.host, refused.port))
        outcome: Outcome = "refused" if refused.status == 403 else "failed"
        await self._on_connection(
            Connected(host=refused.host, port=refused.port, outcome=outcome, detail=refused.detail)
        )


@dataclass(slots=True)
class _Counted:
    """The bytes of one connection, which count for its proxy as they pass."""

    proxy: EgressProxy
    sent: int = 0
    received: int = 0

    def add_sent(self, size: int) -> None:
        self.sent += size
        self.proxy.bytes += size

    def add_received(self, size: int) -> None:
        self.received += size
        self.proxy.bytes += size


@cache
def _trusted() -> ssl.SSLContext:
    """The authorities that this machine trusts. Reading them takes its time."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _request(reader: StreamReader) -> h11.Request:
    try:
        async with asyncio.timeout(HEAD_S):
            head = await reader.readuntil(b"\r\n\r\n")
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        connection.receive_data(head)
        event = connection.next_event()
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError from error
    except TimeoutError as error:
        raise _Refused(408, "Request Timeout", "no request came in time") from error
    except (asyncio.LimitOverrunError, h11.RemoteProtocolError) as error:
        raise _Refused(400, "Bad Request", f"this is no request for a proxy: {error}") from error
    if not isinstance(event, h11.Request):
        raise _Refused(400, "Bad Request", "this is no request for a proxy")
    names = [name for name, _ in event.headers]
    if b"transfer-encoding" in names and b"content-length" in names:
        raise _Refused(400, "Bad Request", "both content-length and transfer-encoding")
    return event


def _destination(request: h11.Request) -> tuple[str, int]:
    target = request.target.decode("ascii", "replace")
    try:
        if request.method == b"CONNECT":
            host, port = split_port(target)
        else:
            parts = urlsplit(target)
            if parts.scheme != "http":
                raise ValueError(target)
            host, port = parts.hostname or "", parts.port or 80
    except ValueError as error:
        raise _Refused(400, "Bad Request", "a proxy takes CONNECT HOST:PORT, or an http:// URL") from error
    if not host or port is None or not host.isascii() or not host.isprintable():
        raise _Refused(400, "Bad Request", "a proxy takes CONNECT HOST:PORT, or an http:// URL")
    return host.lower(), port


def _forwarded(request: h11.Request) -> bytes:
    """The head as its server takes it. The connection serves one request, or is upgraded to another protocol."""
    parts = urlsplit(request.target.decode("ascii"))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = dict(request.headers)
    lines = [request.method + b" " + path.encode() + b" HTTP/1.1"]
    lines.append(b"host: " + parts.netloc.rpartition("@")[2].encode())
    lines += [name + b": " + value for name, value in request.headers if name not in _HOP_BY_HOP]
    if b"upgrade" in headers:
        lines += [b"connection: upgrade", b"upgrade: " + headers[b"upgrade"]]
    else:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def _join(near: Streams, far: Streams, counted: _Counted) -> None:
    """Carry bytes both ways until both have ended, or one is broken."""

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(near[0], far[1], counted.add_sent))
            group.create_task(_pump(far[0], near[1], counted.add_received))
    except* ConnectionError:
        pass


async def _pump(reader: StreamReader, writer: StreamWriter, count: Callable[[int], None]) -> None:
    while data := await reader.read(PIECE):
        count(len(data))
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
