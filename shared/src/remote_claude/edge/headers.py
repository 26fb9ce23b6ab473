"""The outermost of the edge: whose name a request carries, and the headers of every answer."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from remote_claude.edge import rate_limits
from remote_claude.edge.problems import Problem, respond
from remote_claude.edge.rate_limits import RateLimited, RateLimits

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Headers of every answer that does not set its own."""
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
REQUEST_ID = b"x-request-id"
"""Names a request in the answer and in the logs of every service that it reaches."""
GOOD_ID = re.compile(rb"[0-9A-Za-z_.-]{1,64}")
MISDIRECTED = Problem(
    421,
    "host_not_allowed",
    "This server is not known by the name in `Host`. Use its address, or have the operator set RCLAUDE_PUBLIC_URL.",
)


def hosts_of(listens_on: str, public_url: str) -> Collection[str] | None:
    """The names that requests of a server on loopback may carry; None where any name may lead to it.

    A page of another site can point a name of its own at 127.0.0.1 (DNS rebinding), but has to send that name.
    """
    if listens_on not in LOOPBACK:
        return None
    public = urlsplit(public_url).hostname if public_url else None
    return LOOPBACK | ({public} if public else set())


class Outermost:
    """ASGI middleware: refuses names of others and addresses that ask too often, and adds headers to every answer."""

    def __init__(
        self, app: ASGIApp, *, hosts: Collection[str] | None, limits: RateLimits, https: bool
    ) -> None:
        self._app, self._hosts, self._limits = app, hosts, limits
        self._headers = (*SECURITY, STRICT_TRANSPORT) if https else SECURITY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        id = _request_id(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.setdefault("headers", [])
                named = {name.lower() for name, _ in given}
                message["headers"] = [
                    *given,
                    *(header for header in self._headers if header[0] not in named),
                    *([] if REQUEST_ID in named else [(REQUEST_ID, id)]),
                    *rate_limits.headers(scope),
                ]
            await send(message)

        answering = with_headers if scope["type"] == "http" else send
        if self._hosts is not None and not self._is_own(scope):
            await self._refuse(MISDIRECTED, scope, receive, answering)
            return
        try:
            self._limits.address(HTTPConnection(scope))
        except RateLimited as refusal:
            await self._refuse(refusal, scope, receive, answering)
            return
        await self._app(scope, receive, answering)

    def _is_own(self, scope: Scope) -> bool:
        named = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        host = (
            named.rpartition("]")[0].removeprefix("[") if named.startswith("[") else named.partition(":")[0]
        )
        return not named or host.lower() in (self._hosts or ())

    async def _refuse(
        self, refusal: Problem | RateLimited, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await respond(refusal)(scope, receive, send)


def _request_id(scope: Scope) -> bytes:
    """The client's id of a request if it is a good one, otherwise a new one; the request bears it from here on."""
    given = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"")
    if GOOD_ID.fullmatch(given):
        return bytes(given)
    id = uuid4().hex.encode()
    scope["headers"] = [*(pair for pair in scope["headers"] if pair[0] != REQUEST_ID), (REQUEST_ID, id)]
    return id
