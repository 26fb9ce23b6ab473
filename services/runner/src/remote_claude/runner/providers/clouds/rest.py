"""Calls of a vendor's HTTPS API: tried again where that is safe, with refusals as this product's errors."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2

from remote_claude.runner.providers.base import (
    CredentialsRefused,
    ProviderError,
    RequestThrottled,
    SandboxExists,
    SandboxFailed,
)

Headers = Callable[[], Awaitable[Mapping[str, str]]]
Refusal = Callable[[int, str, str], ProviderError | None]
"""Status, the vendor's message, and what was asked: the vendor's own meaning, or None for that of the status."""

TRIES = 4
_PAUSE_S = 0.5
_TIMEOUT_S = 30.0


class Rest:
    """One base address and one way to sign in. `vendor` begins what the vendor says."""

    def __init__(
        self,
        vendor: str,
        base: str,
        headers: Headers,
        refusal: Refusal,
        *,
        sign_in: str,
        verify: ssl.SSLContext | bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._vendor, self._base, self._headers = vendor, base.rstrip("/"), headers
        self._refusal, self._sign_in = refusal, sign_in
        self._verify, self._transport = verify, transport
        self._client: httpx2.AsyncClient | None = None

    async def call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        missing: bool = False,
        again: bool = True,
    ) -> Any:
        """The answer: JSON, or text. `what` begins the message of a refusal.

        `missing`: a 404 is None. `again`: the call may be repeated when it is unknown whether it was done.
        """
        for attempt in range(TRIES):
            last = attempt + 1 == TRIES
            try:
                answer = await self._http.request(
                    method,
                    f"{self._base}{path}",
                    json=json,
                    params=params,
                    headers=dict(await self._headers()),
                )
            except httpx2.ConnectError as error:
                failure: ProviderError = SandboxFailed(f"{what}: {self._vendor} can't be reached: {error}")
            except httpx2.HTTPError as error:
                failure = SandboxFailed(
                    f"{what}: {self._vendor} did not answer: {type(error).__name__} {error}"
                )
                last = last or not again
            else:
                if answer.is_success:
                    return _content(answer)
                if answer.status_code == 404 and missing:
                    return None
                failure = self._error(answer, what)
                last = last or not (answer.status_code == 429 or (again and answer.status_code >= 500))
            if last:
                raise failure
            await asyncio.sleep(_PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @property
    def _http(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                timeout=_TIMEOUT_S, follow_redirects=False, verify=self._verify, transport=self._transport
            )
        return self._client

    def _error(self, answer: httpx2.Response, what: str) -> ProviderError:
        status, message = answer.status_code, _message(answer)
        if (own := self._refusal(status, message, what)) is not None:
            return own
        problem = f"{what}: {self._vendor} says {status}: {message}"
        if status in (401, 403):
            return CredentialsRefused(f"{problem}. {self._sign_in}")
        if status == 409:
            return SandboxExists(f"{problem}. Another process has launched under this name")
        if status == 429:
            return RequestThrottled(
                f"{problem}. It is tried again; start fewer tasks at one time if this goes on"
            )
        return SandboxFailed(problem)


def _content(answer: httpx2.Response) -> Any:
    if "json" in answer.headers.get("content-type", ""):
        return answer.json()
    return answer.text


def _message(answer: httpx2.Response) -> str:
    """What vendors put their reason in: `message`, `error`, or `error.message`."""
    try:
        body = answer.json()
    except ValueError:
        return answer.text[:500]
    if isinstance(body, dict):
        error = body.get("error", body.get("message", body))
        if isinstance(error, dict):
            error = f"{error.get('status', error.get('code', ''))} {error.get('message', '')}".strip()
        return str(error)[:500]
    return str(body)[:500]
