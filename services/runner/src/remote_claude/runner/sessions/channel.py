"""One WebSocket of a worker, whichever server it has reached: the runner's unix socket, or its HTTP address."""

from __future__ import annotations

from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed

from remote_claude.worker.protocol.messages import MAX_MESSAGE


class ChannelClosed(Exception):
    """The other end is gone, or the connection was cut."""


class Channel(Protocol):
    """Messages in and out. `send` and `receive` raise `ChannelClosed`; a `send` waits while the other end is slow."""

    async def send(self, data: str | bytes) -> None: ...

    async def receive(self) -> str | bytes: ...

    async def close(self, code: int, reason: str) -> None: ...

    def abort(self) -> None:
        """Cut it, without a closing message."""
        ...


class SocketChannel:
    """Over the runner's unix socket, or a relay."""

    def __init__(self, ws: Connection) -> None:
        self.ws = ws

    async def send(self, data: str | bytes) -> None:
        try:
            await self.ws.send(data)
        except ConnectionClosed as closed:
            raise ChannelClosed from closed

    async def receive(self) -> str | bytes:
        try:
            return await self.ws.recv()
        except ConnectionClosed as closed:
            raise ChannelClosed from closed

    async def close(self, code: int, reason: str) -> None:
        await self.ws.close(code, reason)

    def abort(self) -> None:
        self.ws.transport.abort()


class HttpChannel:
    """Over the HTTP address of the process, behind a gateway."""

    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws
        self._aborted = False

    async def send(self, data: str | bytes) -> None:
        if self._aborted:
            raise ChannelClosed
        try:
            if isinstance(data, bytes):
                await self._ws.send_bytes(data)
            else:
                await self._ws.send_text(data)
        except (WebSocketDisconnect, RuntimeError) as closed:  # the latter after the end of the connection
            raise ChannelClosed from closed

    async def receive(self) -> str | bytes:
        if self._aborted:
            raise ChannelClosed
        try:
            message = await self._ws.receive()
        except RuntimeError as closed:
            raise ChannelClosed from closed
        if message["type"] == "websocket.disconnect":
            raise ChannelClosed
        data: str | bytes | None = message.get("bytes")
        if data is None:
            data = str(message.get("text"))
        if len(data) > MAX_MESSAGE:
            await self.close(1009, "the message is too large")
            raise ChannelClosed
        return data

    async def close(self, code: int, reason: str) -> None:
        if self._ws.application_state is WebSocketState.CONNECTED:
            try:
                await self._ws.close(code, reason)
            except (RuntimeError, WebSocketDisconnect):
                return  # it was closed meanwhile

    def abort(self) -> None:
        self._aborted = True  # the server closes it when the handler returns
