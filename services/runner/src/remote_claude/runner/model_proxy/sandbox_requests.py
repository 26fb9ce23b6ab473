"""What a sandbox asks of the proxy: its requests, their limits, and the proxy's own refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_BODY = 32 * 1024 * 1024
"""Bytes of one request; the limit of the Messages API itself."""
MAX_CONNECTIONS = 64

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ProxyRefusal(Exception):
    """An answer of the proxy's own. Clients of all APIs find its sentence: AWS's look for a `message` at the top."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        error = {"type": kind, "message": message}
        self.body = orjson.dumps({"type": "error", "error": error, "message": message})


class Gone(Exception):
    """The client has hung up."""


class ModelRequestBody:
    """What the sandbox sends, as it comes, up to the limit; and whether it is still there."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._whole = asyncio.Event()
        length = dict(scope["headers"]).get(b"content-length", b"0")
        self.announced = int(length) if length.isdigit() else 0
        if scope["method"] != "POST":
            self._whole.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        while not self._whole.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise ProxyRefusal(413, "request_too_large", f"more than {MAX_BODY} bytes")
            if not message.get("more_body", False):
                self._whole.set()
            yield message.get("body", b"")

    async def gone(self) -> None:
        """Wait until the other side hangs up."""
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class BoundedModelProtocol(H11Protocol):
    """Refuses to be one connection too many: what is inside must not use up this process's descriptors."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
