"""Tokens of a GitHub App's installation (docs.github.com/apps): each is asked for by a signed statement, and good for an hour."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from remote_claude.outbound.forges import Forge
from remote_claude.runner.forges.client import ForgeFailed
from remote_claude.runner.forges.github import GitHub

EARLIER_S, LASTS_S = 60, 540
"""GitHub takes statements of at most ten minutes, and its clock may be behind ours."""


def statement(app: str, key: str, now: int) -> str:
    """A JSON Web Token (RS256) by which the App signs in. `now` is in seconds since 1970. Raises `ValueError`."""
    private = load_pem_private_key(key.encode(), None)
    if not isinstance(private, RSAPrivateKey):
        raise ValueError("the key of a GitHub App is of the kind RSA")
    parts: tuple[dict[str, Any], ...] = (
        {"alg": "RS256", "typ": "JWT"},
        {"iat": now - EARLIER_S, "exp": now + LASTS_S, "iss": app},
    )
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_encoded(private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


async def installation_token(http: httpx2.AsyncClient, forge: Forge, stored: str, now: int) -> str:
    """A new token. `stored` is JSON: `app`, `installation` and `key`. Raises `ForgeFailed`."""
    app = json.loads(stored)
    try:
        client = GitHub(http, forge, statement(app["app"], app["key"], now))
    except ValueError as error:
        raise ForgeFailed("forge_token_refused", f"The key of the GitHub App can't sign: {error}.") from error
    url = f"/app/installations/{app['installation']}/access_tokens"
    return str(client.read(await client.ask("POST", url), "token"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
