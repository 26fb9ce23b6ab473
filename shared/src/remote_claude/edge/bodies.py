"""How much of a request's body is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from remote_claude.edge.problems import Problem, respond

MAX_BODY_BYTES = 1024 * 1024
"""Bytes of a body that a route does not bound itself; above any prompt within its own bound, however it is escaped."""
TOO_LARGE = Problem(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "body_too_large",
    f"The body is larger than {MAX_BODY_BYTES} bytes. Upload files as a bundle.",
)

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


class BodyTooLarge(HTTPException):
    """A body that was announced as smaller than it is, or not at all. FastAPI lets it pass while it reads a body."""

    problem = TOO_LARGE

    def __init__(self) -> None:
        super().__init__(TOO_LARGE.status, TOO_LARGE.detail)


class BodyLimit:
    """ASGI middleware: a body of at most `MAX_BODY_BYTES`, except under the prefixes whose routes bound it themselves."""

    def __init__(self, app: ASGIApp, bounded_by_route: Sequence[str] = ()) -> None:
        self._app, self._bounded_by_route = app, tuple(bounded_by_route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(self._bounded_by_route):
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
            await _drop(Request(scope, receive).stream(), int(announced))
            await respond(TOO_LARGE)(scope, receive, send)
            return
        received = 0

        async def bounded_receive() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > MAX_BODY_BYTES:
                    raise BodyTooLarge
            return message

        await self._app(scope, bounded_receive, send)
