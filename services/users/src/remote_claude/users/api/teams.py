"""The teams of an organisation over HTTP."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from remote_claude.access.policy import read_policy
from remote_claude.access.teams import label_hash
from remote_claude.contracts import canonical_json
from remote_claude.contracts.contexts import name_context, team_labels_context
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import Name, OrgChanged, RequestBody, one_line
from remote_claude.users.api.support import TAGS, Support
from remote_claude.users.domain.commands import (
    AddToTeam,
    CreateTeam,
    DeleteTeam,
    RemoveFromTeam,
    SetTeamLabels,
)
from remote_claude.users.handlers import Directory
from remote_claude.users.projections.teams import teams

LabelName = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(one_line)]
LabelValue = Annotated[str, StringConstraints(max_length=256), AfterValidator(one_line)]


class NewTeam(RequestBody):
    name: Name


class TeamLabels(RequestBody):
    """Every task of the team bears them. No task of others may bear one of them with this value."""

    labels: dict[LabelName, LabelValue] = Field(max_length=8)


class TeamMemberAnswer(BaseModel):
    user: str
    name: str | None


class TeamAnswer(BaseModel):
    """`budget_nano_usd` is what the models of its tasks may cost in a month; null where nothing bounds them."""

    id: str
    name: str | None
    members: list[TeamMemberAnswer]
    labels: dict[str, str]
    budget_nano_usd: int | None
    created_at: str


class TeamList(BaseModel):
    teams: list[TeamAnswer]
    as_of: int


def add_routes(api: APIRouter, runtime: Runtime, directory: Directory, support: Support) -> None:
    """The routes below `/v1/org/teams`, but for the budget."""
    fresh = support.fresh

    @api.get("/v1/org/teams", tags=TAGS, dependencies=[Depends(fresh)], responses=problems(403, 404, 503))
    async def list_teams(principal: Caller) -> TeamList:
        """The teams of the organisation, the oldest first, with who is in each."""
        budgets = (await read_policy(runtime.log, principal.org)).budgets
        found = []
        for row in await teams(runtime.pool, principal.org):
            labels = await support.open(row.labels, team_labels_context(row.id))
            found.append(
                TeamAnswer(
                    id=row.id,
                    name=await support.open(row.name, name_context(row.id)),
                    members=[
                        TeamMemberAnswer(user=m.user, name=await support.open(m.name, name_context(m.user)))
                        for m in row.members
                    ],
                    labels=json.loads(labels) if labels else {},
                    budget_nano_usd=budgets.get(row.id),
                    created_at=row.created_at,
                )
            )
        return TeamList(teams=found, as_of=fresh.as_of)

    @api.post(
        "/v1/org/teams",
        tags=TAGS,
        status_code=HTTPStatus.CREATED,
        responses=problems(403, 404, 409, 422, 503),
    )
    async def create_team(principal: Caller, body: NewTeam) -> OrgChanged:
        """Create a team. Nobody is in it yet."""
        team, key = runtime.new_id("team"), await runtime.keyring.get(principal.org)
        name = key.seal(body.name, name_context(team))
        name_hash = key.fingerprint(canonical_json(("team", body.name.strip().casefold())))
        command = CreateTeam(org=principal.org, by=principal.user, team=team, name=name, name_hash=name_hash)
        return await support.changed(team, await directory.handle(command))

    @api.delete(
        "/v1/org/teams/{team}",
        tags=TAGS,
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(403, 404, 503),
    )
    async def delete_team(principal: Caller, team: str) -> Response:
        """Delete a team; its API keys are refused from here on. Its tasks stay."""
        command = DeleteTeam(org=principal.org, by=principal.user, team=team)
        await support.changed(team, await directory.handle(command))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.put("/v1/org/teams/{team}/members/{user}", tags=TAGS, responses=problems(403, 404, 503))
    async def add_team_member(principal: Caller, team: str, user: str) -> OrgChanged:
        """Add a member of the organisation to a team."""
        command = AddToTeam(org=principal.org, by=principal.user, team=team, user=user)
        return await support.changed(team, await directory.handle(command))

    @api.delete("/v1/org/teams/{team}/members/{user}", tags=TAGS, responses=problems(403, 404, 503))
    async def remove_team_member(principal: Caller, team: str, user: str) -> OrgChanged:
        """Remove a member from a team. They stay in the organisation."""
        command = RemoveFromTeam(org=principal.org, by=principal.user, team=team, user=user)
        return await support.changed(team, await directory.handle(command))

    @api.put("/v1/org/teams/{team}/labels", tags=TAGS, responses=problems(403, 404, 409, 422, 503))
    async def set_team_labels(principal: Caller, team: str, body: TeamLabels) -> OrgChanged:
        """Set the labels of a team's tasks, in place of those before. A label belongs to one team at most."""
        key = await runtime.keyring.get(principal.org)
        command = SetTeamLabels(
            org=principal.org,
            by=principal.user,
            team=team,
            labels=key.seal(json.dumps(body.labels, ensure_ascii=False), team_labels_context(team)),
            label_hashes=tuple(label_hash(key, name, value) for name, value in body.labels.items()),
        )
        return await support.changed(team, await directory.handle(command))
