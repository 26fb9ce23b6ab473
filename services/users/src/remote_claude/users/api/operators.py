"""For the operator of the installation: every organisation, and suspensions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from remote_claude.access.refusals import OrgNotFound
from remote_claude.contracts.contexts import name_context
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.edge.paging import Limit
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import Name, OrgChanged, RequestBody
from remote_claude.users.api.support import TAGS, Support
from remote_claude.users.domain.commands import ResumeOrg, SuspendOrg
from remote_claude.users.handlers import Directory
from remote_claude.users.projections import directory as view


class InstalledOrg(BaseModel):
    """An organisation of the installation. `suspended` is the reason that its members see, null while it is not.

    `erased_at` is set while it is deleted and can come back.
    """

    id: str
    name: str | None
    personal: bool
    members: int
    created_at: str
    suspended: str | None
    erased_at: str | None


class InstalledOrgPage(BaseModel):
    """In the order of their ids. `next` is what to send as `after` to go on, null at the end."""

    orgs: list[InstalledOrg]
    next: str | None
    as_of: int


class Suspension(RequestBody):
    """Why; the members see it when they submit a task. No personal data."""

    reason: Name


def add_routes(api: APIRouter, runtime: Runtime, directory: Directory, support: Support) -> None:
    """The routes `/v1/orgs/all` and `/v1/orgs/{org}/suspension`."""
    fresh = support.fresh

    @api.get("/v1/orgs/all", tags=TAGS, dependencies=[Depends(fresh)], responses=problems(403, 503))
    async def list_all_orgs(
        _: Caller,
        after: Annotated[
            str, Query(max_length=64, pattern="^[0-9A-Za-z_]*$", description="Organisations after this id")
        ] = "",
        limit: Limit = 200,
    ) -> InstalledOrgPage:
        """Every organisation of the installation, for its operator."""
        rows = await view.every_organisation(runtime.pool, after=after, limit=limit + 1)
        orgs = [
            InstalledOrg(
                id=row.id,
                name=await support.open(row.name, name_context(row.id)),
                personal=row.personal,
                members=row.members,
                created_at=row.created_at,
                suspended=row.suspended,
                erased_at=row.erased_at,
            )
            for row in rows[:limit]
        ]
        following = orgs[-1].id if len(rows) > limit else None
        return InstalledOrgPage(orgs=orgs, next=following, as_of=fresh.as_of)

    async def known(org: str) -> None:
        if not is_id("org", org) or await view.organisation_name(runtime.pool, org) is None:
            raise OrgNotFound(org)

    @api.put("/v1/orgs/{org}/suspension", tags=TAGS, responses=problems(403, 404, 422, 503))
    async def suspend_org(_: Caller, org: str, body: Suspension) -> OrgChanged:
        """Admit no further task of an organisation. What is queued or runs goes on; people can sign in, read and pay."""
        await known(org)
        position = await directory.handle(SuspendOrg(org=org, reason=body.reason))
        await fresh.reach(position)
        return await support.changed(org, position)

    @api.delete("/v1/orgs/{org}/suspension", tags=TAGS, responses=problems(403, 404, 503))
    async def resume_org(_: Caller, org: str) -> OrgChanged:
        """End a suspension."""
        await known(org)
        position = await directory.handle(ResumeOrg(org=org))
        await fresh.reach(position)
        return await support.changed(org, position)
