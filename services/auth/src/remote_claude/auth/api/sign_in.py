"""Signing in at a provider, in a browser."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from datetime import timedelta
from enum import Enum
from hmac import compare_digest
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from remote_claude.access.scopes import SESSION_SCOPES
from remote_claude.auth.api import forms, pages
from remote_claude.auth.api.models import ProviderAnswer, ProviderList
from remote_claude.auth.api.sessions import KNOWN_WITHIN_S, Next, local_path, signed_in
from remote_claude.auth.handlers import Identities, Sessions
from remote_claude.auth.providers import Flow, Provider, SignInFailed
from remote_claude.auth.providers.base import ProviderProfile
from remote_claude.auth.tickets import TicketRefused, Tickets
from remote_claude.edge.caller import Person, client_of, cookie_name, is_secure, own_origin
from remote_claude.edge.models import problems
from remote_claude.edge.problems import Problem
from remote_claude.runtime.service import Runtime

FLOW_LASTS = timedelta(minutes=10)
TAGS: list[str | Enum] = ["sign-in"]
Field = Annotated[str, Form(max_length=4000)]


class SignIn:
    """The routes below `/auth`."""

    def __init__(
        self,
        runtime: Runtime,
        providers: dict[str, Provider],
        identities: Identities,
        sessions: Sessions,
        tickets: Tickets,
    ) -> None:
        self._runtime, self._providers = runtime, providers
        self._identities, self._sessions, self._tickets = identities, sessions, tickets

    def add_routes(self, api: APIRouter) -> None:
        """The routes, named as the permissions have them."""
        api.get("/v1/sign-in/providers", tags=TAGS, name="list_providers")(self.list_providers)
        api.get("/auth/sign-in", tags=TAGS, name="sign_in_page", response_class=HTMLResponse)(self.page)
        api.get(
            "/auth/sign-in/{provider}",
            tags=TAGS,
            name="begin_sign_in",
            status_code=HTTPStatus.SEE_OTHER,
            response_class=RedirectResponse,
            responses=problems(403, 404, 503),
        )(self.begin)
        api.get(
            "/auth/identities/{provider}",
            tags=TAGS,
            name="link_identity",
            status_code=HTTPStatus.SEE_OTHER,
            response_class=RedirectResponse,
            responses=problems(403, 404, 503),
        )(self.link)
        api.get(
            "/auth/callback/{provider}",
            tags=TAGS,
            name="finish_sign_in",
            status_code=HTTPStatus.SEE_OTHER,
            response_class=RedirectResponse,
            responses=problems(400, 403, 404, 409, 410, 503),
        )(self.finish)
        api.post(
            "/auth/identities",
            tags=TAGS,
            name="confirm_identity",
            status_code=HTTPStatus.SEE_OTHER,
            response_class=RedirectResponse,
            responses=problems(400, 401, 403, 409, 503),
        )(self.confirm)

    async def list_providers(self) -> ProviderList:
        """Where people may sign in."""
        return ProviderList(
            providers=[
                ProviderAnswer(name=p.name, title=p.title, url=f"/auth/sign-in/{p.name}")
                for p in self._providers.values()
            ]
        )

    async def page(self, next: Next = "/") -> Response:
        """The sign-in page."""
        return pages.sign_in([(p.name, p.title) for p in self._providers.values()], local_path(next))

    async def begin(self, provider: str, request: Request, next: Next = "/") -> Response:
        """Lead the browser to the provider."""
        return await self._begin(provider, request, next, None)

    async def link(self, identity: Person, provider: str, request: Request, next: Next = "/") -> Response:
        """Lead a signed-in person to a provider. Once they confirm it, the account there signs them in as well."""
        return await self._begin(provider, request, next, identity.user)

    async def _begin(self, provider: str, request: Request, next: str, user: str | None) -> Response:
        found = self._provider(provider)
        flow = Flow(
            state=secrets.token_urlsafe(24),
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            redirect_uri=f"{own_origin(request)}/auth/callback/{provider}",
        )
        content = {
            "provider": provider,
            "state": flow.state,
            "nonce": flow.nonce,
            "verifier": flow.verifier,
            "session": self._runtime.new_id("session"),
            "next": local_path(next),
            "user": user,
        }
        response = RedirectResponse(await found.authorization_url(flow), HTTPStatus.SEE_OTHER)
        response.headers["Cache-Control"] = "no-store"
        self._keep(response, request, await self._tickets.seal("state", content, FLOW_LASTS))
        return response

    async def finish(
        self,
        provider: str,
        request: Request,
        code: Annotated[str, Query(max_length=4000)] = "",
        state: Annotated[str, Query(max_length=200)] = "",
        error: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:
        """The browser comes back from the provider: open its session."""
        found = self._provider(provider)
        kept = await self._tickets.open("state", request.cookies.get(_flow_cookie(request), ""))
        if kept["provider"] != provider or not compare_digest(kept["state"].encode(), state.encode()):
            raise TicketRefused
        if error or not code:
            raise SignInFailed(f"{found.title} says: {error or 'no code'}. Start the sign-in again.")
        flow = Flow(
            state=kept["state"],
            nonce=kept["nonce"],
            verifier=kept["verifier"],
            redirect_uri=f"{own_origin(request)}/auth/callback/{provider}",
        )
        profile = await found.profile(flow, code)
        if kept["user"] is not None:
            return await self._ask_to_link(request, found, profile, kept)
        user = await self._identities.person(provider, profile)
        opened = await self._sessions.open(
            session=kept["session"],
            user=user,
            kind="browser",
            method=provider,  # type: ignore[arg-type]  # a configured provider's name is one of the methods
            scopes=SESSION_SCOPES,
            client=client_of(request),
        )
        await self._runtime.verifier.wait_for_member(user, KNOWN_WITHIN_S)
        response = await signed_in(self._runtime, request, opened, kept["next"])
        self._keep(response, request, "")
        return response

    async def _ask_to_link(
        self, request: Request, provider: Provider, profile: ProviderProfile, kept: dict[str, Any]
    ) -> Response:
        """Show the person which account came back, and ask whether it may sign them in."""
        person = forms.person(self._runtime, request)
        if person is None or person.user != kept["user"]:
            raise TicketRefused
        if profile.email is None:
            raise SignInFailed(
                f"{provider.title} has no verified e-mail address of this account. Verify it there, then link it again."
            )
        content = {"provider": provider.name, "user": person.user, "next": kept["next"], **asdict(profile)}
        response = pages.confirm(
            f"Link an account of {provider.title}",
            f"{profile.name} ({profile.email}) at {provider.title} will sign you in here. Continue only if it is yours.",
            "/auth/identities",
            {
                "ticket": await self._tickets.seal("identity", content, FLOW_LASTS),
                "csrf_token": forms.csrf_token(request),
            },
            "Link it",
        )
        self._keep(response, request, "")
        return response

    async def confirm(self, request: Request, ticket: Field, csrf_token: Field) -> Response:
        """The person agrees: the account signs them in from now on."""
        person = forms.confirmed(self._runtime, request, csrf_token)
        content = await self._tickets.open("identity", ticket)
        provider, user, next = content.pop("provider"), content.pop("user"), content.pop("next")
        if user != person.user:
            raise TicketRefused
        await self._identities.person(provider, ProviderProfile(**content), user)
        return RedirectResponse(next, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})

    def _provider(self, name: str) -> Provider:
        found = self._providers.get(name)
        if found is None:
            detail = "This server has no such sign-in provider. `GET /v1/sign-in/providers` lists them."
            raise Problem(HTTPStatus.NOT_FOUND, "provider_not_found", detail)
        return found

    def _keep(self, response: Response, request: Request, value: str) -> None:
        response.set_cookie(
            _flow_cookie(request),
            value,
            max_age=int(FLOW_LASTS.total_seconds()) if value else 0,
            path="/",
            secure=is_secure(request),
            httponly=True,
            samesite="lax",
        )


def _flow_cookie(request: Request) -> str:
    return f"{cookie_name(request)}-sign-in"
