"""What a stored model credential adds to a request: a header, a signature of AWS, or a token of Google."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Protocol

import httpx2
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from remote_claude.contracts.users import ModelAccess, ModelProvider

DEFAULT_URLS: Mapping[ModelProvider, str] = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "bedrock": "https://bedrock-runtime.{region}.amazonaws.com",
    "vertex": "https://{region}-aiplatform.googleapis.com",
    "gemini": "https://generativelanguage.googleapis.com",
}
GLOBAL_VERTEX = "https://aiplatform.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_S = 3600
EARLY_S = 120
"""A token is replaced so long before it expires."""
_AWS_KEYS = re.compile(r"(A[KS]IA[A-Z0-9]{12,}):([A-Za-z0-9/+=]{16,128})(?::([A-Za-z0-9/+=]{16,4096}))?")
_TOKEN = re.compile(r"(Bearer )?[!-~]+")


class CredentialUnusable(Exception):
    """The value is no credential of its kind, or its service gives nothing for it."""

    code = "model_credential_unusable"


class ModelCredential(Protocol):
    """Opens a model's service."""

    async def headers(
        self, request: httpx2.Request, body: bytes, client: httpx2.AsyncClient
    ) -> Mapping[str, str]:
        """What is added to a request with this body. `client` may be used to get it. Raises `CredentialUnusable`."""
        ...


class HeaderCredential:
    """A key or a token, as it is."""

    def __init__(self, name: str, value: str) -> None:
        if not _TOKEN.fullmatch(value):
            raise CredentialUnusable("a key or a token is one word without spaces")
        self._header = {name: value}

    async def headers(
        self, request: httpx2.Request, body: bytes, client: httpx2.AsyncClient
    ) -> Mapping[str, str]:
        return self._header


class AwsKeys:
    """An access key of AWS: requests are signed (Signature Version 4)."""

    def __init__(self, key_id: str, secret: str, session: str | None, region: str) -> None:
        if find_spec("botocore") is None:
            raise CredentialUnusable("AWS keys need botocore: install remote-claude-shared[aws]")
        from botocore.auth import SigV4Auth
        from botocore.credentials import Credentials

        self._signer = SigV4Auth(Credentials(key_id, secret, session), "bedrock", region)

    async def headers(
        self, request: httpx2.Request, body: bytes, client: httpx2.AsyncClient
    ) -> Mapping[str, str]:
        from botocore.awsrequest import AWSRequest

        signed = AWSRequest(
            request.method, str(request.url), data=body, headers={"Host": request.headers["host"]}
        )
        self._signer.add_auth(signed)
        return {name.lower(): value for name, value in signed.headers.items() if name.lower() != "host"}


class ServiceAccount:
    """A service account of Google Cloud: its key is exchanged for a token, which is kept until it expires."""

    def __init__(self, key: Mapping[str, Any]) -> None:
        try:
            self._email, self._url = str(key["client_email"]), str(key["token_uri"])
            self._key = RSAKey.import_key(str(key["private_key"]))
        except (KeyError, ValueError, JoseError) as error:
            raise CredentialUnusable(
                "this is no key of a service account: it needs client_email, private_key and token_uri"
            ) from error
        self._exchanging = asyncio.Lock()
        self._token, self._until = "", 0.0

    async def headers(
        self, request: httpx2.Request, body: bytes, client: httpx2.AsyncClient
    ) -> Mapping[str, str]:
        async with self._exchanging:
            if time.time() >= self._until:
                await self._exchange(client)
        return {"authorization": f"Bearer {self._token}"}

    async def _exchange(self, client: httpx2.AsyncClient) -> None:
        now = int(time.time())
        claims = {"iss": self._email, "scope": SCOPE, "aud": self._url, "iat": now, "exp": now + TOKEN_S}
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": jwt.encode({"alg": "RS256"}, claims, self._key),
        }
        try:
            answer = await client.post(self._url, data=form)
            answer.raise_for_status()
            given = answer.json()
            self._token, self._until = str(given["access_token"]), now + int(given["expires_in"]) - EARLY_S
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise CredentialUnusable(
                f"{self._url} gives no token for the service account: {error!r}"
            ) from error


def model_credential(access: ModelAccess, value: str) -> ModelCredential:
    """What a stored value is. Bedrock takes `KEY_ID:SECRET[:SESSION_TOKEN]` or an API key, Vertex the JSON of a service
    account's key or an access token. Raises `CredentialUnusable`.
    """
    match access.provider:
        case "bedrock" if found := _AWS_KEYS.fullmatch(value):
            return AwsKeys(found[1], found[2], found[3], access.region or "us-east-1")
        case "vertex" if value.startswith("{"):
            try:
                key = json.loads(value)
            except ValueError as error:
                raise CredentialUnusable("this is no key of a service account: it is no JSON") from error
            return ServiceAccount(key)
        case "gemini":
            return HeaderCredential("x-goog-api-key", value)
        case "anthropic" if access.header == "x-api-key":
            return HeaderCredential("x-api-key", value)
        case _:
            return HeaderCredential("authorization", f"Bearer {value}")


def default_url(provider: ModelProvider, region: str | None) -> str:
    """The vendor's address of a kind of service."""
    if provider == "vertex" and region == "global":
        return GLOBAL_VERTEX
    return DEFAULT_URLS[provider].format(region=region)
