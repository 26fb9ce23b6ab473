"""Settings of auth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator

from remote_claude.runtime.settings import BadSettings

PREFIX = "RCLAUDE_AUTH_"


class AuthSettings(BaseModel):
    """Each field is read from `RCLAUDE_AUTH_<FIELD>`. A provider is offered once its client id is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    github_client_id: str = ""
    github_client_secret: SecretStr = SecretStr("")
    github_url: str = "https://github.com"
    github_api_url: str = "https://api.github.com"
    github_organisations: tuple[str, ...] = ()
    """Names with commas between them. If set, only members of one of these GitHub organisations may sign in."""

    google_client_id: str = ""
    google_client_secret: SecretStr = SecretStr("")
    google_issuer: str = "https://accounts.google.com"
    google_hosted_domain: str = ""
    """If set, only accounts of this Google Workspace domain may sign in."""

    oidc_issuer: str = ""
    """Any other OpenID Connect issuer; what it offers is discovered."""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_name: str = "Single sign-on"
    """What the sign-in page calls it."""

    @field_validator("github_organisations", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read what is set. Raises `BadSettings`; an unknown name under the prefix is an error, not silence."""
        given = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX)
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise BadSettings.of(PREFIX, error) from None
