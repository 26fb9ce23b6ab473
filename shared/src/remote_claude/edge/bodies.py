"""How much of a request's body is read."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request

from remote_claude.edge.problems import Problem

DROPPED_BYTES = 64 * 1024 * 1024
"""How much of a body that is too large is read and dropped, so that its sender gets to read the refusal."""


async def bounded_body(request: Request, limit: int, too_large: Problem) -> bytes:
    """The whole body. Raises `too_large` above `limit` bytes, and then keeps none of it."""
    body = bytearray()
    async for chunk in bounded(request, limit, too_large):
        body += chunk
    return bytes(body)


async def bounded(request: Request, limit: int, too_large: Problem) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises `too_large` once more than `limit` bytes have been announced or have come."""
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdigit() else 0
    pieces = request.stream()
    if limit < size:
        await _drop(pieces, size)
        raise too_large
    received = 0
    async for chunk in pieces:
        received += len(chunk)
        if received > limit:
            await _drop(pieces, 0)
            raise too_large
        yield chunk


async def _drop(pieces: AsyncIterator[bytes], announced: int) -> None:
    """Read what is left of a body, unless that is too much of it."""
    if announced > DROPPED_BYTES:
        return
    dropped = 0
    async for chunk in pieces:
        dropped += len(chunk)
        if dropped > DROPPED_BYTES:
            return
