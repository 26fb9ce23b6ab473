"""Sessions of browsers: the one-time link, who is asking, signing out."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from remote_claude.access import credential_secrets
from remote_claude.access.principal import (
    KEYS,
    AccessToken,
    ApiKey,
    BrowserSession,
    Identity,
    ServiceAccountKey,
)
from remote_claude.auth.api.models import LinkAnswer, MembershipAnswer, SessionAnswer
from remote_claude.auth.handlers import BROWSER_LASTS, OpenedSession, Sessions
from remote_claude.auth.tickets import Tickets
from remote_claude.edge.caller import (
    Caller,
    Person,
    client_of,
    cookie_name,
    is_secure,
    own_origin,
    presented,
)
from remote_claude.edge.models import problems
from remote_claude.edge.problems import Problem
from remote_claude.edge.rate_limits import guess
from remote_claude.runtime.service import Runtime

LINK_LASTS = timedelta(minutes=10)
KNOWN_WITHIN_S = 5.0
"""How long an answer waits until the session that it opens or ends is known to be so here."""
TAGS: list[str | Enum] = ["sessions"]
Next = Annotated[str, Query(max_length=2000, description="The path to go to when it is done.")]


def local_path(next: str) -> str:
    """A path of this server; `/` for anything that may lead elsewhere."""
    safe = next.startswith("/") and not next.startswith(("//", "/\\")) and next.isprintable()
    return next if safe else "/"


def add_routes(api: APIRouter, runtime: Runtime, sessions: Sessions, tickets: Tickets) -> None:
    """The routes `/v1/session`, `/v1/session/links` and `/auth/link`."""

    @api.post("/v1/session/links", tags=TAGS, status_code=HTTPStatus.CREATED, responses=problems(403, 503))
    async def create_sign_in_link(principal: Caller, request: Request) -> LinkAnswer:
        """A link that signs a browser in as the person behind this credential, once."""
        content = {
            "session": runtime.new_id("session"),
            "user": principal.user,
            "scopes": sorted(principal.scopes),
        }
        token = await tickets.seal("link", content, LINK_LASTS)
        return LinkAnswer(
            url=f"{own_origin(request)}/auth/link?token={token}", expires_in=int(LINK_LASTS.total_seconds())
        )

    @api.get(
        "/auth/link",
        tags=TAGS,
        status_code=HTTPStatus.SEE_OTHER,
        response_class=RedirectResponse,
        responses=problems(400, 410, 503),
    )
    async def follow_sign_in_link(
        request: Request, token: Annotated[str, Query(max_length=2000)], next: Next = "/"
    ) -> Response:
        """Open a session in this browser, and go to the dashboard."""
        guess(request, "follow_sign_in_link")
        link = await tickets.open("link", token)
        opened = await sessions.open(
            session=link["session"],
            user=link["user"],
            kind="browser",
            method="link",
            scopes=tuple(link["scopes"]),
            client=client_of(request),
        )
        return await signed_in(runtime, request, opened, local_path(next))

    @api.get("/v1/session", tags=TAGS, responses=problems())
    async def get_session(identity: Person, request: Request) -> SessionAnswer:
        """Who is asking, and for which organisation: the one that the request names, if they are in it."""
        named = presented(request).org
        chosen = named if named in identity.memberships else next(iter(identity.memberships), None)
        org = identity.org or chosen
        cookie = request.cookies.get(cookie_name(request))
        by_cookie = isinstance(identity.credential, BrowserSession)
        return SessionAnswer(
            user=identity.user,
            org=org,
            role=identity.memberships.get(org) if org else None,
            memberships=[MembershipAnswer(org=o, role=r) for o, r in identity.memberships.items()],
            scopes=sorted(identity.scopes),
            credential=_kind(identity),
            session=None if isinstance(identity.credential, KEYS) else identity.credential.id,
            csrf_token=credential_secrets.csrf_token(cookie) if cookie and by_cookie else None,
        )

    @api.delete(
        "/v1/session", tags=TAGS, status_code=HTTPStatus.NO_CONTENT, responses=problems(403, 409, 503)
    )
    async def end_session(identity: Person, request: Request) -> Response:
        """Sign out: the session is refused everywhere from here on."""
        if isinstance(identity.credential, KEYS):
            detail = "An API key has no session. Revoke it with `rclaude key revoke`."
            raise Problem(HTTPStatus.CONFLICT, "no_session", detail)
        position = await sessions.revoke(identity.credential.id, identity.user, "signed_out")
        await runtime.verifier.wait_for(position, KNOWN_WITHIN_S)
        response = Response(status_code=HTTPStatus.NO_CONTENT)
        set_cookie(response, request, "", 0)
        return response


async def signed_in(runtime: Runtime, request: Request, opened: OpenedSession, location: str) -> Response:
    """The answer that gives a browser the cookie of its new session, once this process knows the session."""
    await runtime.verifier.wait_for(opened.position, KNOWN_WITHIN_S)
    response = RedirectResponse(location, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    set_cookie(response, request, opened.secret, int(BROWSER_LASTS.total_seconds()))
    return response


def set_cookie(response: Response, request: Request, value: str, lasts_s: int) -> None:
    """The session cookie. `Lax`: it has to come along when a sign-in at a provider leads back here."""
    response.set_cookie(
        cookie_name(request),
        value,
        max_age=lasts_s,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


def _kind(identity: Identity) -> str:
    match identity.credential:
        case ApiKey():
            return "api_key"
        case ServiceAccountKey():
            return "service_account_key"
        case BrowserSession():
            return "session"
        case AccessToken():
            return "access_token"
