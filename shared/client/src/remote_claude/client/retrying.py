"""How long a client retries, and the exchange of one call: without I/O, the same for both clients."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import Any

import httpx2 as httpx

from remote_claude.client.calls import Call
from remote_claude.client.errors import Unreachable, refusal

REPEATED = (429, 503)
"""Statuses after which the request is sent again, after `Retry-After` or `PAUSE_S`."""
PAUSE_S = 0.3


class Retry:
    """How long to wait for a server: `patience_s` for one that has answered before, `first_patience_s` for another,
    whose address may be wrong."""

    def __init__(self, patience_s: float = 20.0, first_patience_s: float = 2.0) -> None:
        self.patience_s = patience_s
        self._now_s = first_patience_s

    def goes_on(self, waited_s: float) -> bool:
        """Whether to try again after so long."""
        return waited_s <= self._now_s

    def answered(self) -> None:
        """The server is there."""
        self._now_s = self.patience_s

    def new_address(self) -> str | None:
        """Where the server is now, if it has moved."""
        return None


Steps = Generator["Mapping[str, Any] | float", "httpx.Response | httpx.TransportError | None", httpx.Response]
"""Yields the arguments of a request, or seconds to wait; is sent the response, or the error of the connection."""


def exchange(call: Call[Any], url: str, retry: Retry, headers: Mapping[str, str]) -> Steps:
    """Send the request until an answer is a success. Raises `ApiError` and `Unreachable`.

    A call that is not repeatable is sent again only where the server can't have taken it: before a connection, or after
    an answer that refuses it for now.
    """
    request = call.request()
    request["headers"] = {**headers, **request["headers"]}
    request |= {"method": call.method, "url": call.path}
    if (timeout_s := request.pop("timeout_s", None)) is not None:
        request["timeout"] = httpx.Timeout(timeout_s, connect=5.0)
    begun = time.monotonic()
    while True:
        outcome = yield request
        if isinstance(outcome, httpx.TransportError):
            again = call.is_repeatable or isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout)
            if not (again and retry.goes_on(time.monotonic() - begun)):
                raise Unreachable(url, outcome) from outcome
            pause_s = PAUSE_S
        else:
            assert outcome is not None
            retry.answered()
            if outcome.is_success:
                return outcome
            after = outcome.headers.get("retry-after", "")
            pause_s = min(float(after), retry.patience_s) if after.isdigit() else PAUSE_S
            if outcome.status_code not in REPEATED or not retry.goes_on(time.monotonic() - begun):
                raise refusal(outcome.status_code, _document(outcome), after)
        yield pause_s


def _document(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return {}
