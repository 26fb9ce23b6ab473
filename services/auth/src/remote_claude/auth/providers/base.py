"""What every sign-in provider does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from remote_claude.contracts.refusals import Refusal


class SignInFailed(Refusal):
    """The provider says no, says nothing, or says of somebody who may not sign in here."""

    code = "sign_in_failed"
    status = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderProfile:
    """Who somebody is at a provider. `subject` never changes; `email` is there only if the provider has verified it."""

    issuer: str
    subject: str
    name: str
    email: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One sign-in under way: it comes back with the browser in a sealed cookie."""

    state: str
    nonce: str
    verifier: str
    """The PKCE code verifier."""
    redirect_uri: str


class Provider(Protocol):
    """A place to sign in at."""

    name: str
    """In URLs and events."""
    title: str
    """For people."""

    async def authorization_url(self, flow: Flow) -> str:
        """Where the browser goes. Raises `SignInFailed`."""

    async def profile(self, flow: Flow, code: str) -> ProviderProfile:
        """Who has come back with this code. Raises `SignInFailed`."""
