"""People and organisations over HTTP."""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from enum import Enum
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from remote_claude.access import secrets
from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.access.refusals import OrgNotFound
from remote_claude.contracts import Sealed
from remote_claude.contracts.contexts import email_context, name_context
from remote_claude.contracts.users import Role
from remote_claude.edge.freshness import Freshness
from remote_claude.edge.identity import Caller, Person, own_origin
from remote_claude.edge.models import problems
from remote_claude.eventsourcing.events import timestamp
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime
from remote_claude.users.domain.organisation import (
    AcceptInvitation,
    ChangeRole,
    DeleteOrg,
    InvitationNotFound,
    Invite,
    MemberNotFound,
    RemoveMember,
    RenameOrg,
    RestoreOrg,
    RevokeInvitation,
)
from remote_claude.users.handlers import Directory
from remote_claude.users.projections import directory as view
from remote_claude.users.projections.directory import DirectoryView

INVITATION_LASTS = timedelta(days=7)
ORG_COMES_BACK_WITHIN = timedelta(days=30)
KNOWN_WITHIN_S = 5.0
TAGS: list[str | Enum] = ["organisations"]


def one_line(name: str) -> str:
    """A name of people. Raises `PydanticCustomError` for control characters and for what turns text around."""
    if not name.strip() or any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name):
        raise PydanticCustomError("name", "must be one line of text, without control characters")
    return name


Name = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(one_line)]
Email = Annotated[
    str, StringConstraints(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$"), AfterValidator(one_line)
]


class Body(BaseModel):
    """What is not known is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NewOrg(Body):
    name: Name


class NewInvitation(Body):
    role: Role = "member"
    email: Email | None = None


class NewRole(Body):
    role: Role


class AcceptedInvitation(Body):
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


class OrgList(BaseModel):
    orgs: list[OrgAnswer]
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


class MemberList(BaseModel):
    members: list[MemberAnswer]
    invitations: list[InvitationAnswer]
    as_of: int


class InvitationCreated(BaseModel):
    """`url` is the link for the person who is invited. It is shown once."""

    id: str
    url: str
    expires_at: str


class Names:
    """Opens what is sealed; None for what has been erased."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def open(self, sealed: Sealed | None, context: str) -> str | None:
        """The text."""
        try:
            return await self._keyring.open(sealed, context) if sealed else None
        except KeyErased:
            return None


def add_routes(api: APIRouter, runtime: Runtime, directory: Directory) -> None:
    """The routes below `/v1/me`, `/v1/orgs`, `/v1/org` and `/v1/invitations`."""
    fresh = Freshness(runtime.tail, lambda: runtime.projectors[DirectoryView.name])
    reads = [Depends(fresh)]
    names = Names(runtime.keyring)

    async def changed(org: str, position: int) -> OrgChanged:
        await runtime.verifier.wait_for(position, KNOWN_WITHIN_S)
        return OrgChanged(id=org, position=position)

    @api.get("/v1/me", tags=TAGS, dependencies=reads, responses=problems(404, 503))
    async def get_me(identity: Person) -> PersonAnswer:
        """The person who asks."""
        found = await view.person(runtime.pool, identity.user)
        if found is None:
            await fresh.reach(runtime.verifier.position)
            found = await view.person(runtime.pool, identity.user)
        name, email = found or (None, None)
        return PersonAnswer(
            user=identity.user,
            name=await names.open(name, name_context(identity.user)),
            email=await names.open(email, email_context(identity.user)),
            as_of=fresh.as_of,
        )

    @api.get("/v1/orgs", tags=TAGS, dependencies=reads, responses=problems(503))
    async def list_orgs(identity: Person) -> OrgList:
        """The organisations of the person who asks; an API key sees its own."""
        rows = await view.organisations(runtime.pool, identity.user)
        if not identity.memberships.keys() <= {row.id for row in rows}:
            await fresh.reach(runtime.verifier.position)
            rows = await view.organisations(runtime.pool, identity.user)
        orgs = [
            OrgAnswer(
                id=row.id,
                name=await names.open(row.name, name_context(row.id)),
                personal=row.personal,
                role=row.role,
                created_at=row.created_at,
            )
            for row in rows
            if identity.org in (None, row.id)
        ]
        return OrgList(orgs=orgs, as_of=fresh.as_of)

    @api.post("/v1/orgs", tags=TAGS, status_code=HTTPStatus.CREATED, responses=problems(403, 422, 503))
    async def create_org(identity: Person, body: NewOrg) -> OrgChanged:
        """Create an organisation; the person who asks is its owner."""
        org = runtime.new_id("org")
        return await changed(org, await directory.create_org(org, body.name, identity.user))

    @api.patch("/v1/org", tags=TAGS, responses=problems(403, 404, 422, 503))
    async def rename_org(principal: Caller, body: NewOrg) -> OrgChanged:
        """Give the organisation another name."""
        key = await runtime.keyring.get(principal.org)
        sealed = key.seal(body.name, name_context(principal.org))
        command = RenameOrg(org=principal.org, by=principal.user, name=sealed)
        return await changed(principal.org, await directory.handle(command))

    @api.delete("/v1/org", tags=TAGS, responses=problems(403, 404, 409, 503))
    async def delete_org(principal: Caller) -> OrgChanged:
        """Delete the organisation. Nobody acts for it from here on; an owner can bring it back for thirty days."""
        at = timestamp(runtime.clock() + ORG_COMES_BACK_WITHIN)
        command = DeleteOrg(org=principal.org, by=principal.user, erased_at=at)
        return await changed(principal.org, await directory.handle(command))

    @api.post("/v1/orgs/{org}/restore", tags=TAGS, responses=problems(403, 404, 503))
    async def restore_org(identity: Person, org: str) -> OrgChanged:
        """Bring a deleted organisation back."""
        if not is_id("org", org):
            raise OrgNotFound(org)
        command = RestoreOrg(org=org, by=identity.user, now=timestamp(runtime.clock()))
        return await changed(org, await directory.handle(command))

    @api.get("/v1/org/members", tags=TAGS, dependencies=reads, responses=problems(403, 404, 503))
    async def list_members(principal: Caller) -> MemberList:
        """The members of the organisation, and its open invitations."""
        org = principal.org
        found = await view.members(runtime.pool, org)
        invited = await view.invitations(runtime.pool, org)
        members = [
            MemberAnswer(
                user=row.user,
                name=await names.open(row.name, name_context(row.user)),
                email=await names.open(row.email, email_context(row.user)),
                role=row.role,
                joined_at=row.joined_at,
            )
            for row in found
        ]
        now = timestamp(runtime.clock())
        invitations = [
            InvitationAnswer(
                id=row.id,
                role=row.role,
                email=await names.open(row.email, email_context(row.id)),
                invited_by=row.invited_by,
                expires_at=row.expires_at,
            )
            for row in invited
            if row.expires_at > now
        ]
        return MemberList(members=members, invitations=invitations, as_of=fresh.as_of)

    @api.post(
        "/v1/org/invitations",
        tags=TAGS,
        status_code=HTTPStatus.CREATED,
        responses=problems(403, 404, 409, 422, 503),
    )
    async def invite_member(principal: Caller, body: NewInvitation, request: Request) -> InvitationCreated:
        """Invite somebody, by a link that is good once and for seven days."""
        key = await runtime.keyring.get(principal.org)
        invitation, secret = runtime.new_id("invitation"), secrets.generate(secrets.INVITATION)
        command = Invite(
            org=principal.org,
            by=principal.user,
            invitation=invitation,
            email=key.seal(body.email, email_context(invitation)) if body.email else None,
            role=body.role,
            hash=secrets.digest(secret),
            expires_at=timestamp(runtime.clock() + INVITATION_LASTS),
        )
        await directory.handle(command)
        token = f"{principal.org}.{invitation}.{secret}"
        return InvitationCreated(
            id=invitation, url=f"{own_origin(request)}/join?token={token}", expires_at=command.expires_at
        )

    @api.delete(
        "/v1/org/invitations/{invitation}",
        tags=TAGS,
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(403, 404, 503),
    )
    async def revoke_invitation(principal: Caller, invitation: str) -> Response:
        """The link is good no more."""
        command = RevokeInvitation(org=principal.org, by=principal.user, invitation=invitation)
        await directory.handle(command)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.post("/v1/invitations/accept", tags=TAGS, responses=problems(403, 404, 422, 503))
    async def accept_invitation(identity: Person, body: AcceptedInvitation) -> OrgChanged:
        """Join the organisation of an invitation, as the person who asks."""
        org, _, rest = body.token.partition(".")
        invitation, _, secret = rest.partition(".")
        if not is_id("org", org) or not secrets.is_well_formed(secret, secrets.INVITATION):
            raise InvitationNotFound
        command = AcceptInvitation(
            org=org,
            invitation=invitation,
            hash=secrets.digest(secret),
            user=identity.user,
            now=timestamp(runtime.clock()),
        )
        return await changed(org, await directory.handle(command))

    @api.put("/v1/org/members/{user}/role", tags=TAGS, responses=problems(403, 404, 409, 422, 503))
    async def change_role(principal: Caller, user: str, body: NewRole) -> OrgChanged:
        """Give a member another role."""
        command = ChangeRole(org=principal.org, by=principal.user, user=user, role=body.role)
        return await changed(principal.org, await directory.handle(command))

    @api.delete("/v1/org/members/{user}", tags=TAGS, responses=problems(403, 404, 409, 503))
    async def remove_member(principal: Caller, user: str) -> OrgChanged:
        """Remove a member; its API keys of the organisation are refused from here on."""
        return await removed(principal.org, principal.user, user)

    @api.post("/v1/org/leave", tags=TAGS, responses=problems(403, 404, 409, 503))
    async def leave_org(principal: Caller) -> OrgChanged:
        """Leave the organisation."""
        return await removed(principal.org, principal.user, principal.user)

    async def removed(org: str, by: str, user: str) -> OrgChanged:
        if not is_id("user", user):
            raise MemberNotFound(user)
        return await changed(org, await directory.handle(RemoveMember(org=org, by=by, user=user)))
