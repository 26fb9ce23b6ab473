"""OpenID Connect: Google, and any issuer whose configuration can be discovered."""

from __future__ import annotations

from typing import Any

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from remote_claude.auth.providers.base import Flow, ProviderProfile, SignInFailed
from remote_claude.auth.providers.oauth_client import TIMEOUT, oauth_client
from remote_claude.eventsourcing.events import Clock

ALGORITHMS = ["RS256", "ES256", "PS256"]
SCOPE = "openid email profile"


class OpenIdConnect:
    """Sign-in with one issuer. `hosted_domain` is Google's: only accounts of that domain."""

    def __init__(
        self,
        *,
        name: str,
        title: str,
        issuer: str,
        client_id: str,
        client_secret: str,
        clock: Clock,
        hosted_domain: str = "",
    ) -> None:
        self.name, self.title = name, title
        self._issuer = issuer.rstrip("/")
        self._client_id, self._client_secret = client_id, client_secret
        self._clock, self._hosted_domain = clock, hosted_domain
        self._discovered: dict[str, Any] | None = None
        self._keys: KeySet | None = None

    async def authorization_url(self, flow: Flow) -> str:
        """Where the browser goes. Raises `SignInFailed`."""
        found = await self._discover()
        more = {"hd": self._hosted_domain} if self._hosted_domain else {}
        async with self._client(flow) as client:
            url, _ = client.create_authorization_url(
                found["authorization_endpoint"],
                state=flow.state,
                nonce=flow.nonce,
                code_verifier=flow.verifier,
                **more,
            )
            return str(url)

    async def profile(self, flow: Flow, code: str) -> ProviderProfile:
        """Who has come back with this code. Raises `SignInFailed`."""
        found = await self._discover()
        try:
            async with self._client(flow) as client:
                token = await client.fetch_token(
                    found["token_endpoint"], code=code, code_verifier=flow.verifier
                )
                claims = await self._claims(found, str(token.get("id_token", "")), flow.nonce)
                if "email" not in claims and "userinfo_endpoint" in found:
                    claims = {**await self._userinfo(client, found), **claims}
        except (OAuthError, httpx2.HTTPError) as error:
            raise SignInFailed(
                f"{self.title} did not accept the sign-in ({error}). Start it again."
            ) from error
        if self._hosted_domain and claims.get("hd") != self._hosted_domain:
            raise SignInFailed(f"Only accounts of {self._hosted_domain} may sign in here. Ask the operator.")
        email = claims.get("email") if claims.get("email_verified") is True else None
        return ProviderProfile(
            issuer=self._issuer,
            subject=str(claims["sub"]),
            name=str(claims.get("name") or claims.get("preferred_username") or email or claims["sub"]),
            email=email,
        )

    async def _userinfo(self, client: AsyncOAuth2Client, found: dict[str, Any]) -> dict[str, Any]:
        answer = await client.get(found["userinfo_endpoint"])
        answer.raise_for_status()
        return dict(answer.json())

    async def _claims(self, found: dict[str, Any], id_token: str, nonce: str) -> dict[str, Any]:
        registry = JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            leeway=60,
            iss={"essential": True, "value": found["issuer"]},
            aud={"essential": True, "value": self._client_id},
            sub={"essential": True},
            exp={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        for again in (False, True):  # a key that is not known may be new
            try:
                token = jwt.decode(id_token, await self._key_set(found, again), algorithms=ALGORITHMS)
                registry.validate(token.claims)
            except (JoseError, ValueError) as error:
                if again:
                    raise SignInFailed(
                        f"{self.title} sent an identity that can't be verified. Start the sign-in again."
                    ) from error
            else:
                return dict(token.claims)
        raise AssertionError

    async def _key_set(self, found: dict[str, Any], again: bool) -> KeySet:
        if self._keys is None or again:
            self._keys = KeySet.import_key_set(await self._fetch(found["jwks_uri"]))
        return self._keys

    async def _discover(self) -> dict[str, Any]:
        if self._discovered is None:
            found = await self._fetch(f"{self._issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != self._issuer:
                raise SignInFailed(f"{self._issuer} says that it is another issuer. Ask the operator.")
            self._discovered = found
        return self._discovered

    async def _fetch(self, url: str) -> Any:
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT, follow_redirects=False) as client:
                answer = await client.get(url)
                answer.raise_for_status()
                return answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise SignInFailed(f"{self.title} does not answer. Try again in a moment.") from error

    def _client(self, flow: Flow) -> AsyncOAuth2Client:
        return oauth_client(self._client_id, self._client_secret, flow.redirect_uri, SCOPE)
