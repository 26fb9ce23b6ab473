"""HTTP/1.1 between a sandbox and a host that secrets go to: read, with placeholders replaced, and passed on."""

from __future__ import annotations

from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from typing import Any, Protocol

import h11

from remote_claude.runner.egress.placeholders import MAX_BODY, Swapper

PIECE = 64 * 1024
MAX_HEAD = 64 * 1024
_CONTENT = b"content-length"


class Counted(Protocol):
    """Counts bytes as they pass."""

    def add_sent(self, size: int) -> None: ...

    def add_received(self, size: int) -> None: ...


class _Side:
    """One end of the exchange."""

    def __init__(
        self,
        role: Any,
        reader: StreamReader,
        writer: StreamWriter,
        read: Callable[[int], None],
        wrote: Callable[[int], None],
    ) -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=MAX_HEAD)
        self.reader, self.writer, self._read, self._wrote = reader, writer, read, wrote

    async def next(self) -> Any:
        """The next event. Raises `h11.RemoteProtocolError`."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            data = await self.reader.read(PIECE)
            self._read(len(data))
            self.http.receive_data(data)
        return event

    async def send(self, event: Any) -> None:
        if data := self.http.send(event):
            self._wrote(len(data))
            self.writer.write(data)
            await self.writer.drain()


def _nothing(_: int) -> None:
    """These bytes are counted on the other side."""


async def exchange(
    near: tuple[StreamReader, StreamWriter],
    far: tuple[StreamReader, StreamWriter],
    swapper: Swapper,
    counted: Counted,
) -> bytes | None:
    """Pass requests and answers until one end closes.

    Returns what has come after an answer that upgrades to another protocol: from there on the caller carries bytes.
    """
    sandbox = _Side(h11.SERVER, *near, _nothing, counted.add_received)
    host = _Side(h11.CLIENT, *far, _nothing, counted.add_sent)
    while True:
        request = await sandbox.next()
        if not isinstance(request, h11.Request):
            return None
        await _pass_request(request, sandbox, host, swapper)
        if (upgraded := await _pass_answer(sandbox, host)) is not None:
            return upgraded
        if h11.MUST_CLOSE in (sandbox.http.our_state, host.http.our_state) or h11.CLOSED in (
            host.http.their_state,
            sandbox.http.their_state,
        ):
            return None
        sandbox.http.start_next_cycle()
        host.http.start_next_cycle()


async def _pass_request(request: h11.Request, sandbox: _Side, host: _Side, swapper: Swapper) -> None:
    headers = [
        (name, swapper.header(name.lower(), value))
        for name, value in request.headers.raw_items()
        if name.lower() not in (b"expect", b"proxy-connection", b"proxy-authorization")
    ]
    known = {name.lower(): value for name, value in headers}
    if sandbox.http.they_are_waiting_for_100_continue:
        await sandbox.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
    length = known.get(_CONTENT)
    kind, readable = known.get(b"content-type", b"").lower(), b"content-encoding" not in known
    whole = b""
    buffered = readable and length is not None and int(length) <= MAX_BODY
    if buffered:
        while isinstance(event := await sandbox.next(), h11.Data):
            whole += event.data
        whole = swapper.body(whole, kind)
        headers = [(n, str(len(whole)).encode() if n.lower() == _CONTENT else v) for n, v in headers]
    target = swapper.target(request.target)
    await host.send(h11.Request(method=request.method, target=target, headers=headers))
    if buffered:
        if whole:
            await host.send(h11.Data(data=whole))
    else:
        chunked = readable and b"transfer-encoding" in known
        kept = b""
        while isinstance(event := await sandbox.next(), h11.Data):
            data = bytes(event.data)
            if chunked:  # a placeholder may be cut in two
                data = swapper.body(kept + data, kind)
                kept = data[-swapper.longest :]
                data = data[: -swapper.longest]
            if data:
                await host.send(h11.Data(data=data))
        if kept:
            await host.send(h11.Data(data=swapper.body(kept, kind)))
    await host.send(h11.EndOfMessage())


async def _pass_answer(sandbox: _Side, host: _Side) -> bytes | None:
    while True:
        event = await host.next()
        match event:
            case h11.InformationalResponse(status_code=101):
                await sandbox.send(_answer(h11.InformationalResponse, event))
                return bytes(host.http.trailing_data[0])
            case h11.InformationalResponse():
                await sandbox.send(_answer(h11.InformationalResponse, event))
            case h11.Response():
                await sandbox.send(_answer(h11.Response, event))
            case h11.Data():
                await sandbox.send(h11.Data(data=event.data))
            case h11.EndOfMessage():
                await sandbox.send(h11.EndOfMessage(headers=event.headers.raw_items()))
                return None
            case _:
                raise ConnectionResetError


def _answer(kind: Any, event: Any) -> Any:
    return kind(status_code=event.status_code, headers=event.headers.raw_items(), reason=event.reason)
