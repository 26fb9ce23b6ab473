"""What people and organisations look like over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from remote_claude.contracts.names import ONE_LINE, is_name
from remote_claude.contracts.users import Role


def one_line(name: str) -> str:
    """A name of people. Raises `PydanticCustomError` for control characters and for what turns text around."""
    if not is_name(name):
        raise PydanticCustomError("name", ONE_LINE)
    return name


Name = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(one_line)]
Email = Annotated[
    str, StringConstraints(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$"), AfterValidator(one_line)
]


class RequestBody(BaseModel):
    """What is not known is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NewOrg(RequestBody):
    name: Name


class NewInvitation(RequestBody):
    role: Role = "member"
    email: Email | None = None


class NewRole(RequestBody):
    role: Role


class NewOwner(RequestBody):
    """The member who is to own the organisation."""

    user: Annotated[str, StringConstraints(max_length=64)]


class AcceptedInvitation(RequestBody):
    token: Annotated[str, StringConstraints(max_length=200)]


class PersonAnswer(BaseModel):
    """A person. Texts are null once the person is erased."""

    user: str
    name: str | None
    email: str | None
    as_of: int


class OrgAnswer(BaseModel):
    """`role` is the caller's. `personal` is the one that every person has from the start."""

    id: str
    name: str | None
    personal: bool
    role: Role
    created_at: str


class DeletedOrgAnswer(BaseModel):
    """A deleted organisation that the caller may bring back until `erased_at`."""

    id: str
    name: str | None
    erased_at: str


class OrgList(BaseModel):
    """`deleted` are those of a person who owned them; an API key sees none."""

    orgs: list[OrgAnswer]
    deleted: list[DeletedOrgAnswer]
    as_of: int


class OrgChanged(BaseModel):
    """`position` is that of the change: reads with `min_position` show it."""

    id: str
    position: int


class MemberAnswer(BaseModel):
    user: str
    name: str | None
    email: str | None
    role: Role
    joined_at: str


class InvitationAnswer(BaseModel):
    id: str
    role: Role
    email: str | None
    invited_by: str
    expires_at: str


class ServiceAccountAnswer(BaseModel):
    id: str
    name: str | None
    created_by: str
    created_at: str


class ServiceAccountList(BaseModel):
    service_accounts: list[ServiceAccountAnswer]
    as_of: int


class MemberList(BaseModel):
    members: list[MemberAnswer]
    invitations: list[InvitationAnswer]
    as_of: int


class InvitationCreated(BaseModel):
    """`url` is the link for the person who is invited. It is shown once. `mailed`: it was sent to their address too."""

    id: str
    url: str
    expires_at: str
    mailed: bool
