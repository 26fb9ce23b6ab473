"""What authenticates a request: an API key, or the tokens of a sign-in, which are refreshed before they expire."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from remote_claude.client.calls import Call, as_json
from remote_claude.client.models import TokenAnswer

CLIENT_ID = "rclaude-cli"
EARLY_S = 30.0
"""An access token is replaced so many seconds before it expires."""


class Credentials(Protocol):
    """What authenticates a request. The client asks `due` first, and passes its answer to `take`."""

    def headers(self) -> Mapping[str, str]:
        """The headers of a request now."""
        ...

    def due(self) -> Call[TokenAnswer] | None:
        """The call to make before the next request; None: none."""
        ...

    def take(self, answer: TokenAnswer) -> None:
        """Use the answer to `due` from now on."""
        ...


class ApiKey:
    """An API key, `rck_...`. It belongs to one organisation."""

    def __init__(self, key: str) -> None:
        self._headers = {"Authorization": f"Bearer {key}"}

    def headers(self) -> Mapping[str, str]:
        """See `Credentials`."""
        return self._headers

    def due(self) -> Call[TokenAnswer] | None:
        """A key has nothing to refresh."""
        return None

    def take(self, answer: TokenAnswer) -> None:
        """Never called."""


class Tokens:
    """The tokens of a sign-in. `org` is the organisation to act for; the personal one if left out.

    A refresh token is good once. `keep` is called with each new answer: store its `refresh_token` there, the one before
    it has been used up. Using one twice ends the session.
    """

    def __init__(
        self,
        refresh_token: str,
        *,
        access_token: str = "",
        expires_at: float = 0.0,
        org: str | None = None,
        keep: Callable[[TokenAnswer], None] | None = None,
    ) -> None:
        self._refresh_token, self._access_token, self._expires_at = refresh_token, access_token, expires_at
        self._org, self._keep = org, keep

    def headers(self) -> Mapping[str, str]:
        """See `Credentials`."""
        headers = {"Authorization": f"Bearer {self._access_token}"}
        return headers | {"Rclaude-Org": self._org} if self._org else headers

    def due(self) -> Call[TokenAnswer] | None:
        """The refresh, where the access token expires within `EARLY_S`."""
        if time.time() < self._expires_at - EARLY_S:
            return None
        form = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": self._refresh_token}
        return Call("POST", "/oauth/token", as_json, form=form)

    def take(self, answer: TokenAnswer) -> None:
        """See `Credentials`."""
        self._access_token, self._refresh_token = answer["access_token"], answer["refresh_token"]
        self._expires_at = time.time() + answer["expires_in"]
        if self._keep is not None:
            self._keep(answer)
