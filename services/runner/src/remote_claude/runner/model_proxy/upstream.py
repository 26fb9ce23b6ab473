"""Where the model is, and whose credential opens it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import httpx2

from remote_claude.contracts.users import ModelAccess
from remote_claude.runner.model_proxy.model_usage import PaymentTerms

ANTHROPIC = "https://api.anthropic.com"


@dataclass(frozen=True)
class Upstream:
    """Where the model is, and the header that opens it."""

    base_url: str
    credential: tuple[str, str] = field(repr=False)
    terms: PaymentTerms = PaymentTerms()  # noqa: RUF009  frozen

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Upstream | None:
        """By `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN`; None without a key."""
        base_url = (env.get("ANTHROPIC_BASE_URL") or ANTHROPIC).rstrip("/")
        if key := env.get("ANTHROPIC_API_KEY"):
            return cls(base_url, ("x-api-key", key))
        if token := env.get("ANTHROPIC_AUTH_TOKEN"):
            return cls(base_url, ("authorization", f"Bearer {token}"))
        return None

    @classmethod
    def of_customer(cls, access: ModelAccess, value: str) -> Upstream:
        """By a credential that an organisation or a person has stored: its use is not charged."""
        shown = value if access.header == "x-api-key" else f"Bearer {value}"
        return cls(access.base_url, (access.header, shown), PaymentTerms(access.provider, "customer"))

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Shared by the proxies: reading the certificates takes its time."""
        return httpx2.create_ssl_context()
