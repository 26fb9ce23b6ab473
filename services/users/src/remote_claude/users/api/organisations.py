"""The caller, and organisations."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

from fastapi import APIRouter, Depends, Response

from remote_claude.access.principal import ServiceAccountKey
from remote_claude.access.refusals import OrgNotFound
from remote_claude.access.scopes import allows
from remote_claude.contracts.contexts import email_context, name_context
from remote_claude.edge.caller import Caller, Person
from remote_claude.edge.models import problems
from remote_claude.eventsourcing.events import timestamp
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import (
    DeletedOrgAnswer,
    NewOrg,
    OrgAnswer,
    OrgChanged,
    OrgList,
    PersonAnswer,
)
from remote_claude.users.api.support import KNOWN_WITHIN_S, TAGS, Support
from remote_claude.users.domain.commands import DeleteOrg, RenameOrg, RestoreOrg
from remote_claude.users.handlers import Directory
from remote_claude.users.projections import directory as view
from remote_claude.users.projections import members
from remote_claude.users.projections.teams import teams

ORG_COMES_BACK_WITHIN = timedelta(days=30)


def add_routes(api: APIRouter, runtime: Runtime, directory: Directory, support: Support) -> None:
    """The routes `/v1/me`, `/v1/orgs` and `/v1/org`."""
    fresh = support.fresh
    reads = [Depends(fresh)]

    @api.get("/v1/me", tags=TAGS, dependencies=reads, responses=problems(404, 503))
    async def get_me(identity: Person) -> PersonAnswer:
        """The caller: a person, a service account or a team."""
        found = await view.person(runtime.pool, identity.user)
        if found is None:
            await fresh.reach(runtime.verifier.position)
            found = await view.person(runtime.pool, identity.user)
        name, email = found or (None, None)
        if isinstance(identity.credential, ServiceAccountKey) and identity.org is not None:
            accounts = await members.service_accounts(runtime.pool, identity.org)
            known = {account.id: account.name for account in accounts}
            known |= {team.id: team.name for team in await teams(runtime.pool, identity.org)}
            name = known.get(identity.user)
        return PersonAnswer(
            user=identity.user,
            name=await support.open(name, name_context(identity.user)),
            email=await support.open(email, email_context(identity.user)),
            as_of=fresh.as_of,
        )

    @api.patch("/v1/me", tags=TAGS, responses=problems(403, 410, 422, 503))
    async def change_profile(identity: Person, body: NewOrg) -> OrgChanged:
        """Give the caller another name."""
        position = await directory.rename_person(identity.user, body.name)
        return await support.changed(identity.user, position)

    @api.delete("/v1/me", tags=TAGS, status_code=HTTPStatus.NO_CONTENT, responses=problems(403, 409, 503))
    async def delete_account(identity: Person) -> Response:
        """Erase the caller, with their personal organisation. Nobody can bring them back."""
        orgs = runtime.verifier.memberships.joined(identity.user)
        position = await directory.erase_person(identity.user, orgs, timestamp(runtime.clock()))
        await runtime.verifier.wait_for(position, KNOWN_WITHIN_S)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.get("/v1/orgs", tags=TAGS, dependencies=reads, responses=problems(503))
    async def list_orgs(identity: Person) -> OrgList:
        """The organisations of the caller. An API key sees its own; one with the scope `operations` sees all of its person's."""
        sees_all = identity.org is None or allows(identity.scopes, "operations")
        rows = await view.organisations(runtime.pool, identity.user)
        if not identity.memberships.keys() <= {row.id for row in rows}:
            await fresh.reach(runtime.verifier.position)
            rows = await view.organisations(runtime.pool, identity.user)
        orgs = [
            OrgAnswer(
                id=row.id,
                name=await support.open(row.name, name_context(row.id)),
                personal=row.personal,
                role=row.role,
                created_at=row.created_at,
            )
            for row in rows
            if sees_all or row.id == identity.org
        ]
        gone = (
            await view.deleted_organisations(runtime.pool, identity.user, timestamp(runtime.clock()))
            if sees_all
            else []
        )
        deleted = [
            DeletedOrgAnswer(
                id=row.id,
                name=await support.open(row.name, name_context(row.id)),
                erased_at=row.erased_at,
            )
            for row in gone
        ]
        return OrgList(orgs=orgs, deleted=deleted, as_of=fresh.as_of)

    @api.post("/v1/orgs", tags=TAGS, status_code=HTTPStatus.CREATED, responses=problems(403, 422, 503))
    async def create_org(identity: Person, body: NewOrg) -> OrgChanged:
        """Create an organisation; the caller is its owner."""
        org = runtime.new_id("org")
        return await support.changed(org, await directory.create_org(org, body.name, identity.user))

    @api.patch("/v1/org", tags=TAGS, responses=problems(403, 404, 422, 503))
    async def rename_org(principal: Caller, body: NewOrg) -> OrgChanged:
        """Give the organisation another name."""
        key = await runtime.keyring.get(principal.org)
        sealed = key.seal(body.name, name_context(principal.org))
        command = RenameOrg(org=principal.org, by=principal.user, name=sealed)
        return await support.changed(principal.org, await directory.handle(command))

    @api.delete("/v1/org", tags=TAGS, responses=problems(403, 404, 409, 503))
    async def delete_org(principal: Caller) -> OrgChanged:
        """Delete the organisation. Nobody acts for it from here on; an owner can bring it back for thirty days."""
        at = timestamp(runtime.clock() + ORG_COMES_BACK_WITHIN)
        command = DeleteOrg(org=principal.org, by=principal.user, erased_at=at)
        return await support.changed(principal.org, await directory.handle(command))

    @api.post("/v1/orgs/{org}/restore", tags=TAGS, responses=problems(403, 404, 503))
    async def restore_org(identity: Person, org: str) -> OrgChanged:
        """Bring a deleted organisation back."""
        if not is_id("org", org):
            raise OrgNotFound(org)
        command = RestoreOrg(org=org, by=identity.user, now=timestamp(runtime.clock()))
        return await support.changed(org, await directory.handle(command))
