"""Requests and answers, as the OpenAPI document has them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from remote_claude.access.scopes import SCOPES
from remote_claude.contracts.names import ONE_LINE, is_name
from remote_claude.contracts.users import Role


class MembershipAnswer(BaseModel):
    org: str
    role: Role


class SessionAnswer(BaseModel):
    """Who is asking. `org` is the organisation that requests without the header `Rclaude-Org` act for.

    `csrf_token` is there for a session cookie: a changing request sends it as `X-CSRF-Token`.
    """

    user: str
    org: str | None
    role: Role | None
    memberships: list[MembershipAnswer]
    scopes: list[str]
    credential: Literal["api_key", "service_account_key", "session", "access_token"]
    session: str | None
    csrf_token: str | None


class LinkAnswer(BaseModel):
    """A link that signs a browser in, once, within `expires_in` seconds."""

    url: str
    expires_in: int


class ProviderAnswer(BaseModel):
    """`url` begins the sign-in."""

    name: str
    title: str
    url: str


class ProviderList(BaseModel):
    providers: list[ProviderAnswer]


class DeviceAnswer(BaseModel):
    """RFC 8628, section 3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class TokenAnswer(BaseModel):
    """RFC 6749, section 5.1. The refresh token is good once: the answer to it has the next one."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str


class TokenError(BaseModel):
    """RFC 6749, section 5.2."""

    error: str
    error_description: str


class KeySetAnswer(BaseModel):
    """RFC 7517."""

    keys: list[dict[str, object]]


class MetadataAnswer(BaseModel):
    """RFC 8414."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    device_authorization_endpoint: str
    jwks_uri: str
    response_types_supported: list[str]
    grant_types_supported: list[str]
    code_challenge_methods_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]


def _shown(name: str) -> str:
    if not is_name(name):
        raise PydanticCustomError("name", ONE_LINE)
    return name


class NewKey(BaseModel):
    """`scopes` are at most the caller's own; left out: everything inside the organisation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_shown)]
    scopes: list[str] | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    service_account: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Of whom the key is; left out: of the caller, or of `team`."""
    team: Annotated[str, StringConstraints(max_length=64)] | None = None

    @field_validator("scopes")
    @classmethod
    def _known(cls, scopes: list[str] | None) -> list[str] | None:
        if unknown := [scope for scope in scopes or () if scope not in SCOPES]:
            raise PydanticCustomError(
                "unknown_scope",
                "There is no scope {scope}; there are {scopes}",
                {"scope": repr(unknown[0][:64]), "scopes": ", ".join(SCOPES)},
            )
        return scopes

    @model_validator(mode="after")
    def _of_one(self) -> NewKey:
        if self.service_account is not None and self.team is not None:
            raise PydanticCustomError("key_owner", "A key is of a service account or of a team, not of both")
        return self


class IdentityAnswer(BaseModel):
    """An account at a provider that signs the person in. `subject` is what the provider knows them by."""

    id: str
    provider: str
    subject: str | None
    linked_at: str


class IdentityList(BaseModel):
    identities: list[IdentityAnswer]
    as_of: int


class KeyCreated(BaseModel):
    """`secret` is the key itself: it is shown this once."""

    id: str
    secret: str
    scopes: list[str]
    expires_at: str | None
    position: int


class KeyAnswer(BaseModel):
    """A key that is good. `prefix` is what it is recognised by, `name` what its owner calls it.

    `used_at` is its last use, to the hour; null where it was never used.
    """

    id: str
    name: str | None
    prefix: str
    user: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    used_at: str | None


class KeyList(BaseModel):
    keys: list[KeyAnswer]
    as_of: int


class OpenSessionAnswer(BaseModel):
    """A session that is open. `address` and `agent` are of the program that signed in."""

    id: str
    kind: Literal["browser", "cli"]
    method: str
    address: str | None
    agent: str | None
    opened_at: str
    used_at: str
    expires_at: str
    current: bool


class SessionList(BaseModel):
    sessions: list[OpenSessionAnswer]
    as_of: int
