"""Settings of users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator

from remote_claude.runtime.settings import BadSettings

PREFIX = "RCLAUDE_USERS_"
SCHEMES = ("smtp", "smtps", "smtp+plain")


class UsersSettings(BaseModel):
    """Each field is read from `RCLAUDE_USERS_<FIELD>`. Without a mail server invitations are links to copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smtp_url: SecretStr = SecretStr("")
    """`smtp://USER:PASSWORD@HOST:PORT` for STARTTLS, `smtps://` for TLS from the start, `smtp+plain://` for no TLS."""
    mail_from: str = "Remote Claude <no-reply@localhost>"
    """The sender of mail."""
    support_address: str = ""
    """Where messages of tickets go, and where answers to them come from. Without it tickets are read by command only."""

    @field_validator("smtp_url")
    @classmethod
    def _is_one(cls, value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        if value.get_secret_value() and (parts.scheme not in SCHEMES or not parts.hostname):
            raise ValueError(f"not the address of a mail server: begin it with one of {', '.join(SCHEMES)}")
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
