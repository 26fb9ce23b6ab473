"""How the CLI signs in: RFC 8252 (loopback and PKCE), RFC 8628 (device code), refresh tokens, a GitHub token.

Codes are tickets that name the session they open, so each is good once and nothing is stored.
"""

from __future__ import annotations

import secrets as random
from base64 import urlsafe_b64encode
from datetime import timedelta
from enum import Enum
from hashlib import sha256
from hmac import compare_digest
from http import HTTPStatus
from typing import Annotated, Literal
from urllib.parse import quote, urlencode, urlsplit

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from remote_claude.access import credential_secrets
from remote_claude.access.refusals import NotAdmitted
from remote_claude.access.scopes import SESSION_SCOPES
from remote_claude.auth.api import forms, pages
from remote_claude.auth.api.models import DeviceAnswer, KeySetAnswer, MetadataAnswer, TokenAnswer, TokenError
from remote_claude.auth.api.sessions import KNOWN_WITHIN_S
from remote_claude.auth.handlers import Devices, Identities, OpenedSession, Sessions
from remote_claude.auth.providers import Provider, SignInFailed
from remote_claude.auth.tickets import TicketRefused, Tickets
from remote_claude.auth.token_signing import TOKEN_LASTS, SigningKeys
from remote_claude.contracts.auth import SignInMethod
from remote_claude.contracts.refusals import Refusal
from remote_claude.edge import html
from remote_claude.edge.caller import client_of, own_origin
from remote_claude.edge.models import problems
from remote_claude.edge.rate_limits import guess
from remote_claude.runtime.service import Runtime

CLIENT_ID = "rclaude-cli"
CODE_LASTS = timedelta(minutes=1)
DEVICE_LASTS = timedelta(minutes=10)
INTERVAL_S = 5
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
GITHUB_GRANT = "urn:remote-claude:params:oauth:grant-type:github-token"
CODE_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""Of the codes that people type: no vowels, so no words; 20 letters, 8 of them."""
CODE_LENGTH = 8
TAGS: list[str | Enum] = ["sign-in"]
Text = Annotated[str, Query(max_length=2000)]
Field = Annotated[str, Form(max_length=4000)]


class OAuthError(Exception):
    """An answer of the token endpoint, in RFC 6749's words."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error, self.description = error, description


class OAuth:
    """The routes below `/oauth`, and `/auth/device`."""

    def __init__(
        self,
        runtime: Runtime,
        providers: dict[str, Provider],
        identities: Identities,
        sessions: Sessions,
        devices: Devices,
        tickets: Tickets,
        signing: SigningKeys,
    ) -> None:
        self._runtime, self._providers, self._identities = runtime, providers, identities
        self._sessions, self._devices, self._tickets, self._signing = sessions, devices, tickets, signing

    def add_routes(self, api: APIRouter) -> None:
        """The routes, named as the permissions have them."""
        oauth_errors = {400: {"model": TokenError, "description": "RFC 6749, section 5.2"}, **problems(503)}
        page = {"response_class": HTMLResponse, "responses": problems(400, 403, 503)}
        api.get("/.well-known/oauth-authorization-server", tags=TAGS, name="oauth_metadata")(self.metadata)
        api.get("/.well-known/jwks.json", tags=TAGS, name="get_signing_keys")(self.key_set)
        api.get("/oauth/authorize", tags=TAGS, name="ask_authorization", **page)(self.ask)  # type: ignore[arg-type]
        api.post("/oauth/authorize", tags=TAGS, name="grant_authorization", **page)(self.grant)  # type: ignore[arg-type]
        api.post(
            "/oauth/device_authorization",
            tags=TAGS,
            name="begin_device",
            operation_id="begin_device",
            responses=oauth_errors,
        )(self.begin_device)
        api.get("/auth/device", tags=TAGS, name="ask_device", **page)(self.ask_device)  # type: ignore[arg-type]
        api.post("/auth/device", tags=TAGS, name="confirm_device", **page)(self.confirm_device)  # type: ignore[arg-type]
        api.post(
            "/oauth/token",
            tags=TAGS,
            name="issue_token",
            operation_id="issue_token",
            response_model=TokenAnswer,
            responses=oauth_errors,
        )(self.token)

    async def metadata(self, request: Request) -> MetadataAnswer:
        """RFC 8414: what this authorization server offers."""
        base = own_origin(request)
        return MetadataAnswer(
            issuer=base,
            authorization_endpoint=f"{base}/oauth/authorize",
            token_endpoint=f"{base}/oauth/token",
            device_authorization_endpoint=f"{base}/oauth/device_authorization",
            jwks_uri=f"{base}/.well-known/jwks.json",
            response_types_supported=["code"],
            grant_types_supported=["authorization_code", "refresh_token", DEVICE_GRANT, GITHUB_GRANT],
            code_challenge_methods_supported=["S256"],
            token_endpoint_auth_methods_supported=["none"],
        )

    async def key_set(self) -> KeySetAnswer:
        """The public keys that verify access tokens."""
        return KeySetAnswer(keys=self._runtime.verifier.tokens.published)

    # In a browser: loopback and PKCE.

    async def ask(
        self,
        request: Request,
        client_id: Text,
        redirect_uri: Text,
        code_challenge: Text,
        response_type: Text = "code",
        code_challenge_method: Text = "plain",
        state: Text = "",
    ) -> Response:
        """Ask the person in the browser whether the CLI may act for them."""
        _check_authorization(client_id, redirect_uri, response_type, code_challenge, code_challenge_method)
        identity = forms.person(self._runtime, request)
        if identity is None:
            return _sign_in_first(request)
        fields = {
            "redirect_uri": redirect_uri,
            "code_challenge": code_challenge,
            "state": state,
            "csrf_token": forms.csrf_token(request),
        }
        return pages.confirm(
            "Sign rclaude in",
            "The command line on this machine asks to act for you. Continue only if you have started `rclaude login`.",
            "/oauth/authorize",
            fields,
            "Sign in",
        )

    async def grant(
        self,
        request: Request,
        redirect_uri: Field,
        code_challenge: Field,
        csrf_token: Field,
        state: Field = "",
    ) -> Response:
        """The person agrees: the browser takes a code to the CLI."""
        identity = forms.confirmed(self._runtime, request, csrf_token)
        _check_authorization(CLIENT_ID, redirect_uri, "code", code_challenge, "S256")
        content = {
            "session": self._runtime.new_id("session"),
            "user": identity.user,
            "scopes": sorted(identity.scopes),
            "redirect_uri": redirect_uri,
            "challenge": code_challenge,
        }
        code = await self._tickets.seal("code", content, CODE_LASTS)
        query = urlencode({"code": code, "state": state, "iss": own_origin(request)})
        return RedirectResponse(
            f"{redirect_uri}?{query}", HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"}
        )

    # Without a browser: a code that is typed elsewhere.

    async def begin_device(self, request: Request, client_id: Field) -> Response:
        """Begin the sign-in of a machine without a browser."""
        guess(request, "begin_device")
        if client_id != CLIENT_ID:
            return _error(OAuthError("invalid_client", f"The client is {CLIENT_ID}."))
        user_code = "".join(random.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
        shown = f"{user_code[:4]}-{user_code[4:]}"
        content = {"session": self._runtime.new_id("session"), "device": await self._device(user_code)}
        base = own_origin(request)
        answer = DeviceAnswer(
            device_code=await self._tickets.seal("device", content, DEVICE_LASTS),
            user_code=shown,
            verification_uri=f"{base}/auth/device",
            verification_uri_complete=f"{base}/auth/device?code={shown}",
            expires_in=int(DEVICE_LASTS.total_seconds()),
            interval=INTERVAL_S,
        )
        return JSONResponse(answer.model_dump(), headers={"Cache-Control": "no-store"})

    async def ask_device(self, request: Request, code: Text = "") -> Response:
        """Where the code is typed and confirmed."""
        if forms.person(self._runtime, request) is None:
            return _sign_in_first(request)
        if not (user_code := _normal(code)):
            return pages.enter_code()
        return pages.confirm(
            "Sign a machine in",
            f"A machine shows the code {user_code[:4]}-{user_code[4:]} and asks to act for you. "
            "Continue only if it is yours and shows the same code.",
            "/auth/device",
            {"code": user_code, "csrf_token": forms.csrf_token(request)},
            "Sign it in",
        )

    async def confirm_device(self, request: Request, code: Field, csrf_token: Field) -> Response:
        """The person confirms the code."""
        identity = forms.confirmed(self._runtime, request, csrf_token)
        guess(request, "confirm_device", identity.user)
        user_code = _normal(code)
        if not user_code:
            raise TicketRefused
        await self._devices.authorize(await self._device(user_code), identity.user, identity.credential.id)
        return html.page("Done", "<p>The machine is signed in within seconds. You can close this page.</p>")

    async def _device(self, user_code: str) -> str:
        own = await self._tickets.key()
        return f"device_{own.fingerprint(f'device {user_code}'.encode())[:32]}"

    # Tokens.

    async def token(
        self,
        request: Request,
        grant_type: Field,
        client_id: Field = "",
        code: Field = "",
        redirect_uri: Field = "",
        code_verifier: Field = "",
        device_code: Field = "",
        refresh_token: Field = "",
        github_token: Field = "",
    ) -> Response:
        """Exchange a code, a device code, a refresh token or a GitHub token for an access token."""
        guess(request, "issue_token")
        try:
            if client_id != CLIENT_ID:
                raise OAuthError("invalid_client", f"The client is {CLIENT_ID}.")
            match grant_type:
                case "authorization_code":
                    user, opened = await self._by_code(request, code, redirect_uri, code_verifier)
                case "refresh_token":
                    user, opened = await self._by_refresh(refresh_token)
                case _ if grant_type == DEVICE_GRANT:
                    user, opened = await self._by_device(request, device_code)
                case _ if grant_type == GITHUB_GRANT:
                    user, opened = await self._by_github(request, github_token)
                case _:
                    raise OAuthError("unsupported_grant_type", "See /.well-known/oauth-authorization-server.")
        except OAuthError as error:
            return _error(error)
        except (SignInFailed, NotAdmitted) as refusal:
            return _error(OAuthError("invalid_grant", refusal.detail))
        except Refusal as refusal:
            if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return _error(OAuthError("invalid_grant", refusal.detail))
        await self._runtime.verifier.wait_for(opened.position, KNOWN_WITHIN_S)
        answer = TokenAnswer(
            access_token=self._signing.token(user, opened.session),
            token_type="Bearer",  # noqa: S106  # a type of token
            expires_in=int(TOKEN_LASTS.total_seconds()),
            refresh_token=f"{opened.session}.{opened.secret}",
        )
        return JSONResponse(answer.model_dump(), headers={"Cache-Control": "no-store"})

    async def _by_code(
        self, request: Request, code: str, redirect_uri: str, code_verifier: str
    ) -> tuple[str, OpenedSession]:
        ticket = await self._tickets.open("code", code)
        challenge = urlsafe_b64encode(sha256(code_verifier.encode()).digest()).decode().rstrip("=")
        if ticket["redirect_uri"] != redirect_uri or not compare_digest(ticket["challenge"], challenge):
            raise OAuthError("invalid_grant", "The code was given for another redirect_uri or code_verifier.")
        return ticket["user"], await self._open(
            request, ticket["session"], ticket["user"], "code", tuple(ticket["scopes"])
        )

    async def _by_device(self, request: Request, device_code: str) -> tuple[str, OpenedSession]:
        try:
            ticket = await self._tickets.open("device", device_code)
        except TicketRefused:
            raise OAuthError("expired_token", "The code has expired. Start again.") from None
        user = await self._devices.authorized_by(ticket["device"])
        if user is None:
            raise OAuthError("authorization_pending", "The code has not been confirmed yet.")
        return user, await self._open(request, ticket["session"], user, "device", SESSION_SCOPES)

    async def _by_github(self, request: Request, github_token: str) -> tuple[str, OpenedSession]:
        from remote_claude.auth.providers.github import GitHubSignIn  # with libraries that few processes need

        github = self._providers.get("github")
        if not isinstance(github, GitHubSignIn):
            raise OAuthError("unsupported_grant_type", "This server has no GitHub sign-in.")
        profile = await github.profile_of(github_token)
        user = await self._identities.person("github", profile)
        session = self._runtime.new_id("session")
        opened = await self._open(request, session, user, "github_token", SESSION_SCOPES)
        await self._runtime.verifier.wait_for_member(user, KNOWN_WITHIN_S)
        return user, opened

    async def _by_refresh(self, refresh_token: str) -> tuple[str, OpenedSession]:
        session, _, secret = refresh_token.partition(".")
        live = self._runtime.verifier.sessions.get(session)
        if live is None or not credential_secrets.is_well_formed(secret, credential_secrets.REFRESH):
            raise OAuthError("invalid_grant", "This session has ended. Sign in again: `rclaude login`.")
        return live.user, await self._sessions.refresh(session, secret)

    async def _open(
        self, request: Request, session: str, user: str, method: SignInMethod, scopes: tuple[str, ...]
    ) -> OpenedSession:
        return await self._sessions.open(
            session=session, user=user, kind="cli", method=method, scopes=scopes, client=client_of(request)
        )


def _check_authorization(
    client_id: str, redirect_uri: str, response_type: str, challenge: str, method: Literal["S256"] | str
) -> None:
    """Raises `SignInFailed` for what a browser must not be led on for."""
    parts = urlsplit(redirect_uri)
    loopback = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1") and parts.path == "/callback"
    if client_id != CLIENT_ID or not loopback or parts.query or parts.fragment or parts.username:
        raise SignInFailed("Only rclaude on this machine is signed in here (client and redirect_uri).")
    if response_type != "code" or method != "S256" or len(challenge) != 43:
        raise SignInFailed("PKCE is needed: response_type=code and code_challenge_method=S256.")


def _sign_in_first(request: Request) -> Response:
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/auth/sign-in?next={quote(here, safe='')}", HTTPStatus.SEE_OTHER)


def _normal(code: str) -> str:
    """A typed code without what people add to it; empty for what can't be one."""
    letters = "".join(c for c in code.upper() if c.isalnum())
    return letters if len(letters) == CODE_LENGTH and set(letters) <= set(CODE_ALPHABET) else ""


def _error(error: OAuthError) -> Response:
    body = TokenError(error=error.error, error_description=error.description)
    return JSONResponse(body.model_dump(), HTTPStatus.BAD_REQUEST, {"Cache-Control": "no-store"})
