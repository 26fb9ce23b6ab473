"""The members of an organisation, and its service accounts."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Depends, Response

from remote_claude.contracts.contexts import email_context, name_context
from remote_claude.contracts.users import ServiceAccountCreated, ServiceAccountRemoved
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.eventsourcing.events import timestamp
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import (
    InvitationAnswer,
    MemberAnswer,
    MemberList,
    NewOrg,
    NewOwner,
    NewRole,
    OrgChanged,
    ServiceAccountAnswer,
    ServiceAccountList,
)
from remote_claude.users.api.support import TAGS, Support
from remote_claude.users.domain.commands import ChangeRole, RemoveMember, TransferOwnership
from remote_claude.users.domain.organisation import MemberNotFound
from remote_claude.users.domain.service_accounts import ServiceAccountNotFound
from remote_claude.users.handlers import Directory
from remote_claude.users.projections import members as members_view


def add_routes(api: APIRouter, runtime: Runtime, directory: Directory, support: Support) -> None:
    """The routes below `/v1/org/members` and `/v1/org/service-accounts`."""
    fresh = support.fresh
    reads = [Depends(fresh)]

    @api.get("/v1/org/members", tags=TAGS, dependencies=reads, responses=problems(403, 404, 503))
    async def list_members(principal: Caller) -> MemberList:
        """The members of the organisation, and its open invitations."""
        org = principal.org
        found = await members_view.members(runtime.pool, org)
        invited = await members_view.invitations(runtime.pool, org)
        members = [
            MemberAnswer(
                user=row.user,
                name=await support.open(row.name, name_context(row.user)),
                email=await support.open(row.email, email_context(row.user)),
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
                email=await support.open(row.email, email_context(row.id)),
                invited_by=row.invited_by,
                expires_at=row.expires_at,
            )
            for row in invited
            if row.expires_at > now
        ]
        return MemberList(members=members, invitations=invitations, as_of=fresh.as_of)

    @api.put("/v1/org/members/{user}/role", tags=TAGS, responses=problems(403, 404, 409, 422, 503))
    async def change_role(principal: Caller, user: str, body: NewRole) -> OrgChanged:
        """Give a member another role."""
        command = ChangeRole(org=principal.org, by=principal.user, user=user, role=body.role)
        return await support.changed(principal.org, await directory.handle(command))

    @api.delete("/v1/org/members/{user}", tags=TAGS, responses=problems(403, 404, 409, 503))
    async def remove_member(principal: Caller, user: str) -> OrgChanged:
        """Remove a member; its API keys of the organisation are refused from here on."""
        return await removed(principal.org, principal.user, user)

    @api.post("/v1/org/leave", tags=TAGS, responses=problems(403, 404, 409, 503))
    async def leave_org(principal: Caller) -> OrgChanged:
        """Leave the organisation."""
        return await removed(principal.org, principal.user, principal.user)

    @api.post("/v1/org/transfer", tags=TAGS, responses=problems(403, 404, 409, 422, 503))
    async def transfer_org(principal: Caller, body: NewOwner) -> OrgChanged:
        """Make another member the owner, and the calling owner an admin."""
        command = TransferOwnership(org=principal.org, by=principal.user, user=body.user)
        return await support.changed(principal.org, await directory.handle(command))

    async def removed(org: str, by: str, user: str) -> OrgChanged:
        if not is_id("user", user):
            raise MemberNotFound(user)
        return await support.changed(org, await directory.handle(RemoveMember(org=org, by=by, user=user)))

    @api.get("/v1/org/service-accounts", tags=TAGS, dependencies=reads, responses=problems(403, 404, 503))
    async def list_service_accounts(principal: Caller) -> ServiceAccountList:
        """The service accounts of the organisation."""
        found = [
            ServiceAccountAnswer(
                id=row.id,
                name=await support.open(row.name, name_context(row.id)),
                created_by=row.created_by,
                created_at=row.created_at,
            )
            for row in await members_view.service_accounts(runtime.pool, principal.org)
        ]
        return ServiceAccountList(service_accounts=found, as_of=fresh.as_of)

    @api.post(
        "/v1/org/service-accounts",
        tags=TAGS,
        status_code=HTTPStatus.CREATED,
        responses=problems(403, 404, 422, 503),
    )
    async def create_service_account(principal: Caller, body: NewOrg) -> OrgChanged:
        """Create an account for machines. API keys can be made for it, and stay when the people leave."""
        account, key = runtime.new_id("sa"), await runtime.keyring.get(principal.org)
        created = ServiceAccountCreated(
            org=principal.org,
            service_account=account,
            name=key.seal(body.name, name_context(account)),
            by=principal.user,
        )
        return await support.changed(account, await directory.service_account(created))

    @api.delete(
        "/v1/org/service-accounts/{service_account}",
        tags=TAGS,
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(403, 404, 503),
    )
    async def remove_service_account(principal: Caller, service_account: str) -> Response:
        """Remove a service account; its API keys are refused from here on."""
        if not is_id("sa", service_account):
            raise ServiceAccountNotFound(service_account)
        removed = ServiceAccountRemoved(org=principal.org, service_account=service_account, by=principal.user)
        await support.changed(service_account, await directory.service_account(removed))
        return Response(status_code=HTTPStatus.NO_CONTENT)
