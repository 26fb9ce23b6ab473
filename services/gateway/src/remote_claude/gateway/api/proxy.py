"""Where services run apart: what the gateway does not own goes to its owner, with the client's own credential."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus

import httpx2
import structlog
from fastapi import APIRouter, Request, Response, WebSocket, status
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from remote_claude.concurrency.tasks import first_of
from remote_claude.edge.problems import Problem, respond
from remote_claude.eventsourcing import traces

log = structlog.get_logger(__name__)

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "trailers",
     "transfer-encoding", "upgrade", "proxy-connection"}
)  # fmt: skip
OF_A_HANDSHAKE = ("authorization", "cookie", "origin", "rclaude-org", "user-agent", "x-request-id")
"""Headers of a WebSocket's handshake that its owner needs: it checks that a session cookie comes from the public URL's origin."""
NO_OWNER = 4404
UNSENDABLE = {1005: status.WS_1000_NORMAL_CLOSURE, 1006: status.WS_1013_TRY_AGAIN_LATER}
"""What stands for the close codes that no frame carries: closed without a code, and the connection lost."""
TIMEOUT = httpx2.Timeout(connect=2, read=60, write=60, pool=5)


class Routes:
    """Which service owns which path. A pattern is a path prefix; `*` matches one segment of it."""

    def __init__(self, routes: Mapping[str, str]) -> None:
        self._routes = sorted(
            ((tuple(pattern.strip("/").split("/")), base.rstrip("/")) for pattern, base in routes.items()),
            key=lambda route: len(route[0]),
            reverse=True,
        )

    def owner(self, path: str) -> str | None:
        """The base URL of the path's owner, by the longest pattern that fits."""
        segments = path.strip("/").split("/")
        for pattern, base in self._routes:
            if len(pattern) <= len(segments) and all(
                p in ("*", s) for p, s in zip(pattern, segments, strict=False)
            ):
                return base
        return None


def router(routes: Mapping[str, str], client: httpx2.AsyncClient) -> APIRouter:
    """Everything that no other route of this process has taken."""
    api = APIRouter(include_in_schema=False)
    owners = Routes(routes)

    @api.api_route("/{path:path}", methods=METHODS)
    async def forward(request: Request, path: str) -> Response:
        base = owners.owner(path)
        if base is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        raw_path = request.scope.get("raw_path", request.url.path.encode()).decode("ascii")
        query = request.scope["query_string"].decode("latin-1")
        url = base + raw_path + (f"?{query}" if query else "")
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        outgoing = client.build_request(
            request.method,
            url,
            headers=_traced(_for_client(request, _end_to_end(request.headers.items(), {"host"}))),
            content=request.stream() if has_body else None,
        )
        try:
            incoming = await client.send(outgoing, stream=True)
        except httpx2.TransportError as error:
            log.warning("a service does not answer", owner=base, error=repr(error))
            detail = f"The service that owns /{path} does not answer. Ask again in a moment."
            return respond(Problem(HTTPStatus.BAD_GATEWAY, "owner_unreachable", detail))
        answer = StreamingResponse(
            _pieces(incoming), incoming.status_code, background=BackgroundTask(incoming.aclose)
        )
        for name, value in _end_to_end(incoming.headers.multi_items(), set()):
            answer.headers.append(name, value)  # an answer may set several cookies
        return answer

    @api.websocket("/{path:path}")
    async def forward_socket(peer: WebSocket, path: str) -> None:
        base = owners.owner(path)
        await peer.accept()
        if base is None:
            await peer.close(NO_OWNER, "nothing of this server owns this path")
            return
        try:
            query = f"?{peer.url.query}" if peer.url.query else ""
            given = [(name, peer.headers[name]) for name in OF_A_HANDSHAKE if name in peer.headers]
            async with connect(
                f"ws{base.removeprefix('http')}/{path}{query}",
                additional_headers=_for_client(peer, given),
                user_agent_header=None,
                compression=None,
                ping_interval=None,
                proxy=None,
            ) as owner:
                await _carry(peer, owner)
        except (OSError, InvalidHandshake, TimeoutError) as error:
            log.warning("a service does not answer", owner=base, error=repr(error))
            await peer.close(status.WS_1013_TRY_AGAIN_LATER, "the owner does not answer")

    return api


async def _carry(peer: WebSocket, owner: ClientConnection) -> None:
    """Messages both ways, and the code and reason of whichever side closes first."""

    async def from_peer() -> None:
        while (message := await peer.receive())["type"] == "websocket.receive":
            data = message.get("bytes")
            await owner.send(data if data is not None else message["text"])
        await owner.close(message.get("code") or 1000, message.get("reason") or "")

    async def from_owner() -> None:
        with suppress(ConnectionClosed):
            async for data in owner:
                await (peer.send_bytes(data) if isinstance(data, bytes) else peer.send_text(data))
        code = owner.close_code or status.WS_1000_NORMAL_CLOSURE
        await peer.close(UNSENDABLE.get(code, code), owner.close_reason or "")

    for done in await first_of(from_peer(), from_owner()):
        if done is not None:
            with suppress(ConnectionClosed, RuntimeError):
                done.result()


def _for_client(request: HTTPConnection, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """With the client's address, as it is known here, in place of what it says itself."""
    kept = [(n, v) for n, v in headers if n.lower() != "x-forwarded-for"]
    return [*kept, ("x-forwarded-for", request.client.host)] if request.client else kept


def _traced(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """With this process's span in place of the client's."""
    here = traces.current.get()
    if here is None:
        return headers
    return [(n, v) for n, v in headers if n.lower() != "traceparent"] + [("traceparent", here)]


async def _pieces(incoming: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as the owner sent it, encoded as it is."""
    async for piece in incoming.aiter_raw():
        yield piece


def _end_to_end(headers: Iterable[tuple[str, str]], besides: set[str]) -> list[tuple[str, str]]:
    """Without what concerns one connection only."""
    headers = list(headers)
    named = {token.strip().lower() for name, value in headers if name.lower() == "connection" for token in value.split(",")}  # fmt: skip
    return [(n, v) for n, v in headers if n.lower() not in HOP_BY_HOP | named | besides]
