"""Where people sign in: GitHub, Google, any OpenID Connect issuer. Authlib speaks the protocols, here only."""

from remote_claude.auth.providers.base import Flow, Provider, ProviderProfile, SignInFailed
from remote_claude.auth.providers.configured import configured

__all__ = ["Flow", "Provider", "ProviderProfile", "SignInFailed", "configured"]
