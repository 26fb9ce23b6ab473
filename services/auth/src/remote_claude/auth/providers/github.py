"""GitHub: OAuth 2 with PKCE, then its REST API for the profile and the verified primary e-mail."""

from __future__ import annotations

from typing import Any

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from remote_claude.auth.providers.base import Flow, ProviderProfile, SignInFailed
from remote_claude.auth.providers.oauth_client import TIMEOUT, oauth_client

API_VERSION = "2022-11-28"


class GitHubSignIn:
    """Sign-in with a GitHub account, for everybody or for members of some GitHub organisations."""

    name = "github"
    title = "GitHub"

    def __init__(
        self, *, client_id: str, client_secret: str, url: str, api_url: str, organisations: tuple[str, ...]
    ) -> None:
        self._client_id, self._client_secret = client_id, client_secret
        self._url, self._api_url = url.rstrip("/"), api_url.rstrip("/")
        self._organisations = frozenset(name.lower() for name in organisations)

    async def authorization_url(self, flow: Flow) -> str:
        """Where the browser goes."""
        async with self._client(flow) as client:
            url, _ = client.create_authorization_url(
                f"{self._url}/login/oauth/authorize", state=flow.state, code_verifier=flow.verifier
            )
            return str(url)

    async def profile(self, flow: Flow, code: str) -> ProviderProfile:
        """Who has come back with this code. Raises `SignInFailed`."""
        try:
            async with self._client(flow) as client:
                token = await client.fetch_token(
                    f"{self._url}/login/oauth/access_token", code=code, code_verifier=flow.verifier
                )
        except (OAuthError, httpx2.HTTPError) as error:
            raise SignInFailed(f"GitHub did not accept the sign-in ({error}). Start it again.") from error
        return await self.profile_of(str(token["access_token"]))

    async def profile_of(self, token: str) -> ProviderProfile:
        """Who owns a GitHub token. Raises `SignInFailed`."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": API_VERSION,
        }
        try:
            async with httpx2.AsyncClient(base_url=self._api_url, headers=headers, timeout=TIMEOUT) as api:
                user = await _json(api, "/user")
                emails = await _json(api, "/user/emails")
                if self._organisations:
                    await self._check_membership(api)
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            raise SignInFailed(f"GitHub answered {status}: the token is good for no profile.") from error
        except httpx2.HTTPError as error:
            raise SignInFailed("GitHub does not answer. Try again in a moment.") from error
        email = next((e["email"] for e in emails if e.get("primary") and e.get("verified")), None)
        return ProviderProfile(
            issuer=self._url,
            subject=str(user["id"]),
            name=str(user.get("name") or user["login"]),
            email=email,
        )

    async def _check_membership(self, api: httpx2.AsyncClient) -> None:
        mine = {str(org["login"]).lower() for org in await _json(api, "/user/orgs")}
        if not mine & self._organisations:
            names = ", ".join(sorted(self._organisations))
            raise SignInFailed(
                f"Only members of these GitHub organisations may sign in here: {names}. Ask the operator."
            )

    def _client(self, flow: Flow) -> AsyncOAuth2Client:
        scope = "read:user user:email" + (" read:org" if self._organisations else "")
        return oauth_client(self._client_id, self._client_secret, flow.redirect_uri, scope)


async def _json(api: httpx2.AsyncClient, path: str) -> Any:
    answer = await api.get(path)
    answer.raise_for_status()
    return answer.json()
