"""The providers that the settings name. Their libraries are imported only where one is named."""

from __future__ import annotations

from remote_claude.auth.providers.base import Provider
from remote_claude.auth.settings import AuthSettings
from remote_claude.eventsourcing.events import Clock


def configured(settings: AuthSettings, clock: Clock) -> dict[str, Provider]:
    """By name, in the order of the sign-in page."""
    found: list[Provider] = []
    if settings.github_client_id:
        from remote_claude.auth.providers.github import GitHubSignIn

        found.append(
            GitHubSignIn(
                client_id=settings.github_client_id,
                client_secret=settings.github_client_secret.get_secret_value(),
                url=settings.github_url,
                api_url=settings.github_api_url,
                organisations=settings.github_organisations,
            )
        )
    if settings.google_client_id or settings.oidc_client_id:
        from remote_claude.auth.providers.oidc import OpenIdConnect
    if settings.google_client_id:
        found.append(
            OpenIdConnect(
                name="google",
                title="Google",
                issuer=settings.google_issuer,
                client_id=settings.google_client_id,
                client_secret=settings.google_client_secret.get_secret_value(),
                clock=clock,
                hosted_domain=settings.google_hosted_domain,
            )
        )
    if settings.oidc_client_id:
        found.append(
            OpenIdConnect(
                name="oidc",
                title=settings.oidc_name,
                issuer=settings.oidc_issuer,
                client_id=settings.oidc_client_id,
                client_secret=settings.oidc_client_secret.get_secret_value(),
                clock=clock,
            )
        )
    return {provider.name: provider for provider in found}
