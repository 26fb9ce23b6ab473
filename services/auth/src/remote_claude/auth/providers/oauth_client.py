"""Authlib's client as the providers use it."""

from __future__ import annotations

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client

TIMEOUT = httpx2.Timeout(10.0)


def oauth_client(
    client_id: str, client_secret: str, redirect_uri: str | None, scope: str
) -> AsyncOAuth2Client:
    """Authlib's client, with S256 as the only PKCE method and the credentials in the body."""
    return AsyncOAuth2Client(
        client_id=client_id,
        client_secret=client_secret,
        redirect_uri=redirect_uri,
        scope=scope,
        code_challenge_method="S256",
        token_endpoint_auth_method="client_secret_post",  # noqa: S106  # the name of a method
        timeout=TIMEOUT,
        follow_redirects=False,
    )
