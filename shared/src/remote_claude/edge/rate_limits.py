"""How often may be asked: per credential, person, organisation and address, and what could be guessed more strictly.

Counted in this process, in fixed windows: where several processes answer side by side, each grants its share. A request
costs as much as there are such processes, so that a share follows them without a new window.
Per address only public ones are counted: behind a loopback or private one is a proxy, or the machine's own user.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar

from fastapi import Request
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.requests import HTTPConnection

from remote_claude.access.principal import Identity, Principal
from remote_claude.contracts.refusals import Refusal

KINDS = ("key", "person", "org", "address")
OF_PROXIES = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
    )
)
"""Addresses that are not counted."""
GUESSES_PER_ADDRESS = "60/minute"
GUESSES_PER_ACCOUNT = "10/minute"
STATE = "rate_limit"
"""Where a request keeps its tightest window, for the headers of its answer."""


class RateLimited(Refusal):
    """Too many requests within a window."""

    code: ClassVar[str] = "rate_limited"
    status: ClassVar[int] = 429

    def __init__(self, whose: str, limit: str, retry_after: int) -> None:
        super().__init__(f"This {whose} may send {limit}. Ask again in {retry_after} s.")
        self.retry_after = retry_after


class RateLimits:
    """The limits of one process. `limits` are by kind (`KINDS`), for all `processes` together."""

    def __init__(self, limits: Mapping[str, RateLimitItem]) -> None:
        self._limits = limits
        self._per_address, self._per_account = parse(GUESSES_PER_ADDRESS), parse(GUESSES_PER_ACCOUNT)
        self._windows = FixedWindowRateLimiter(MemoryStorage())
        self.processes = 1

    @classmethod
    def of(cls, text: str) -> RateLimits:
        """From a setting such as `key=1200/minute,address=3000/minute`. Raises `ValueError`."""
        limits = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            kind, _, limit = entry.partition("=")
            if kind not in KINDS:
                raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
            limits[kind] = parse(limit)
        return cls(limits)

    def address(self, connection: HTTPConnection) -> None:
        """Count a request of an address. Raises `RateLimited`."""
        if "address" in self._limits and (address := public_address(connection)):
            self._count(connection, "address", "address", self._limits["address"], address)

    def identity(self, connection: HTTPConnection, who: Identity | Principal) -> None:
        """Count a request of somebody who is known. Raises `RateLimited`."""
        if not self._limits:
            return
        for kind, whose, id in (
            ("key", "credential", who.credential.id),
            ("person", "person", who.user),
            ("org", "organisation", who.org),
        ):
            if kind in self._limits and id is not None:
                self._count(connection, kind, whose, self._limits[kind], id)

    def guess(self, connection: HTTPConnection, operation: str, account: str | None = None) -> None:
        """Count a try of what could be guessed, before it is looked at. Raises `RateLimited`."""
        if address := public_address(connection):
            self._count(connection, operation, "address", self._per_address, address)
        if account is not None:
            self._count(connection, f"{operation} of", "account", self._per_account, account)

    def _count(
        self, connection: HTTPConnection, kind: str, whose: str, limit: RateLimitItem, id: str
    ) -> None:
        cost = min(self.processes, limit.amount)
        granted = self._windows.hit(limit, kind, id, cost=cost)
        window = self._windows.get_window_stats(limit, kind, id)
        remaining = window.remaining // cost
        left = max(1, math.ceil(window.reset_time - time.time()))
        state: dict[str, Any] = connection.scope.setdefault("state", {})
        tightest = state.get(STATE)
        if tightest is None or remaining < tightest[2]:
            state[STATE] = (kind, limit.amount // cost, remaining, limit.get_expiry(), left)
        if not granted:
            raise RateLimited(whose, str(limit), left)


def headers(scope: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """`RateLimit-Policy` and `RateLimit` of an answer, of the window that has the least left."""
    found = scope.get("state", {}).get(STATE)
    if found is None:
        return []
    kind, quota, remaining, window, left = found
    return [
        (b"ratelimit-policy", f'"{kind}";q={quota};w={window}'.encode()),
        (b"ratelimit", f'"{kind}";r={remaining};t={left}'.encode()),
    ]


def public_address(connection: HTTPConnection) -> str | None:
    """The client's address if it is a public one; of IPv6 the network that one customer has."""
    try:
        address = ip_address(connection.client.host if connection.client else "")
    except ValueError:
        return None
    if any(address.version == n.version and address in n for n in OF_PROXIES):
        return None
    return str(address) if address.version == 4 else address.exploded[:19]


def guess(request: Request, operation: str, account: str | None = None) -> None:
    """For a route where something could be guessed: count the try, before it is looked at. Raises `RateLimited`."""
    limits: RateLimits = request.app.state.rate_limits
    limits.guess(request, operation, account)
