"""FastAPI's way to who is asking and may: `async def list_tasks(principal: Caller)`.

The route's name is looked up in `access.permissions`. A request without a good credential is answered with 401, one that
may not do this with 403. A session cookie is accepted for a changing request only with its CSRF token.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from remote_claude.access import credential_secrets
from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.access.principal import Credential, Identity, Presented, Principal
from remote_claude.access.refusals import CsrfRefused, NotAdmitted
from remote_claude.access.verifier import Verifier
from remote_claude.contracts.contexts import origin_context
from remote_claude.edge.rate_limits import RateLimits
from remote_claude.eventsourcing import actors
from remote_claude.eventsourcing.actors import Actor

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "x-csrf-token"
ORG_HEADER = "rclaude-org"
COOKIE = "rclaude"
SOCKET_CHECKED_EVERY_S = 0.5


def own_origin(connection: HTTPConnection) -> str:
    """Scheme and host as a browser sees them: the public URL if one is set, otherwise what the request names."""
    public: str = connection.app.state.public_url
    if public:
        return public.rstrip("/")
    scheme = "https" if connection.url.scheme in ("https", "wss") else "http"
    return f"{scheme}://{connection.url.netloc}"


def is_secure(connection: HTTPConnection) -> bool:
    """Whether the browser speaks TLS, to this process or to the proxy before it."""
    return own_origin(connection).startswith("https:")


def cookie_name(connection: HTTPConnection) -> str:
    """`__Host-rclaude` with TLS. Without, `rclaude-<port>`: cookies are shared by all ports of a machine."""
    if is_secure(connection):
        return f"__Host-{COOKIE}"
    return f"{COOKIE}-{urlsplit(own_origin(connection)).port or 80}"


def presented(connection: HTTPConnection, *, form: bool = False) -> Presented:
    """What a request, or the handshake of a WebSocket, shows of who is asking. Raises `CsrfRefused`.

    `form`: the CSRF token is a field of a form, and the caller checks it.
    """
    headers = connection.headers
    authorization = headers.get("authorization")
    cookie = None
    if authorization is None and "cookie" in headers:
        cookie = connection.cookies.get(cookie_name(connection))
        if cookie is not None:
            _check_origin(connection, cookie, form)
    org = headers.get(ORG_HEADER) or connection.query_params.get("org")
    return Presented(authorization=authorization, cookie=cookie, org=org or None)


def _check_origin(connection: HTTPConnection, cookie: str, form: bool) -> None:
    """A page of another site can send our cookie, but neither our origin nor the token. Raises `CsrfRefused`."""
    origin = connection.headers.get("origin")
    if origin is not None and origin != own_origin(connection):
        raise CsrfRefused(f"The request comes from {origin[:100]}, which is a different origin.")
    if connection.scope["type"] == "websocket":
        if origin is None:
            raise CsrfRefused("A WebSocket with a session cookie needs an Origin header.")
    elif connection.scope["method"] not in SAFE and not form:
        token = connection.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(token.encode(), credential_secrets.csrf_token(cookie).encode()):
            raise CsrfRefused("This request needs the CSRF token of the session.")


async def identity(request: Request) -> Identity:
    """Who asks, for operations that belong to a person and no organisation. Raises `NotAdmitted`, `RateLimited`."""
    verifier: Verifier = request.app.state.verifier
    limits: RateLimits = request.app.state.rate_limits
    found = verifier.admit_person(presented(request), request.scope["route"].name)
    limits.identity(request, found)
    await _remember(request, found.credential, found.user)
    return found


async def caller(request: Request) -> Principal:
    """Who asks and may do what the route does. Raises `NotAdmitted`, `RateLimited`."""
    found = admitted(request, request.scope["route"].name)
    await remember(request, found)
    return found


async def remember(request: HTTPConnection, who: Principal) -> None:
    """What the request, or the handshake of a WebSocket, appends says which credential it came with, and from where."""
    await _remember(request, who.credential, who.user if who.role is not None else who.org)


def admitted(request: Request, operation: str) -> Principal:
    """Who asks and may do this. Raises `NotAdmitted`, `RateLimited`."""
    verifier: Verifier = request.app.state.verifier
    limits: RateLimits = request.app.state.rate_limits
    found = verifier.admit(presented(request), operation)
    limits.identity(request, found)
    return found


async def no_longer_admitted(
    socket: HTTPConnection, who: Principal, operation: str, may: Callable[[Principal], bool] = lambda _: True
) -> NotAdmitted | None:
    """Wait until the person of an open WebSocket may no longer do this: the credential or the membership has ended, or `may` says so.

    Returns the refusal; None where it is `may` that refuses.
    """
    verifier: Verifier = socket.app.state.verifier
    shown = presented(socket)
    while True:
        await asyncio.sleep(SOCKET_CHECKED_EVERY_S)
        try:
            if not may(verifier.readmit(shown, who.credential, operation)):
                return None
        except NotAdmitted as refusal:
            return refusal


async def _remember(request: HTTPConnection, credential: Credential, sealed_by: str) -> None:
    """What the request appends says which credential it came with, and from where, sealed by the person's key."""
    if request.scope.get("method") in SAFE:  # a WebSocket has none
        return
    keyring: Keyring = request.app.state.keyring
    try:
        key = await keyring.get(sealed_by)
    except (KeyErased, KeyUnusable):
        actors.current.set(Actor(credential.id))
        return
    sealed = key.seal(client_of(request).to_json(), origin_context(credential.id))
    actors.current.set(Actor(credential.id, f"{sealed.key}:{sealed.box}"))


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """The program that asks, and from where. Both are personal data."""

    address: str
    agent: str

    def to_json(self) -> str:
        """What is sealed."""
        return json.dumps({"address": self.address, "agent": self.agent[:200]})


def client_of(request: HTTPConnection) -> ClientInfo:
    """The program that asks, and its address."""
    return ClientInfo(request.client.host if request.client else "", request.headers.get("user-agent", ""))


Caller = Annotated[Principal, Depends(caller)]
Person = Annotated[Identity, Depends(identity)]
