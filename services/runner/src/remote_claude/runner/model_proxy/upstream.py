"""Where the model is, and whose credential opens it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import httpx2

from remote_claude.access.model_credentials import (
    DEFAULT_URLS,
    HeaderCredential,
    ModelCredential,
    model_credential,
)
from remote_claude.contracts.users import ModelAccess
from remote_claude.runner.model_proxy.apis import AnthropicApi, ModelApi, api_of
from remote_claude.runner.model_proxy.model_usage import PaymentTerms


@dataclass(frozen=True)
class Upstream:
    """Where the model is, what opens it, and which API it speaks. `access` is how it was stored."""

    base_url: str
    credential: ModelCredential = field(repr=False)
    terms: PaymentTerms = field(default_factory=PaymentTerms)
    api: ModelApi = field(default_factory=AnthropicApi)
    access: ModelAccess = field(default_factory=lambda: ModelAccess(base_url=DEFAULT_URLS["anthropic"]))

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Upstream | None:
        """By `ANTHROPIC_BASE_URL` and `ANTHROPIC_API_KEY` or `ANTHROPIC_AUTH_TOKEN`; None without a key."""
        base_url = (env.get("ANTHROPIC_BASE_URL") or DEFAULT_URLS["anthropic"]).rstrip("/")
        if key := env.get("ANTHROPIC_API_KEY"):
            return cls(base_url, HeaderCredential("x-api-key", key))
        if token := env.get("ANTHROPIC_AUTH_TOKEN"):
            return cls(base_url, HeaderCredential("authorization", f"Bearer {token}"))
        return None

    @classmethod
    def of_customer(cls, access: ModelAccess, value: str) -> Upstream:
        """By a credential that an organisation or a person has stored: its use is not charged.

        Raises `CredentialUnusable`.
        """
        return cls(
            access.base_url,
            model_credential(access, value),
            PaymentTerms(access.provider, "customer"),
            api_of(access.provider, access.region, access.project),
            access,
        )

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Shared by the proxies: reading the certificates takes its time."""
        return httpx2.create_ssl_context()
