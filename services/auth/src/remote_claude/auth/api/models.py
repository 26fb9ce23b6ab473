"""What is sent and what is answered, as it stands in the OpenAPI document."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

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
    credential: Literal["api_key", "session", "access_token"]
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
