"""What an organisation allows its members, and what they may spend in a month."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from pydantic_core import PydanticCustomError

from remote_claude.access import policy
from remote_claude.contracts.users import MonthlyBudgetSet, OrgPolicySet, TaskVisibility
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.eventsourcing import CommandHandler, Decider
from remote_claude.outbound.hosts import DEFAULT, NONE, network
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import OrgChanged, RequestBody, one_line
from remote_claude.users.api.support import TAGS, Support
from remote_claude.users.domain.organisation import MemberNotFound
from remote_claude.users.domain.teams import TeamNotFound

POLICY = Decider[policy.PolicyEvent, policy.Policy](
    policy.Policy(),
    lambda event, state: [] if policy.evolve(state, event) == state else [event],
    policy.evolve,
)
MAX_BUDGET = 10**15
"""A million dollars: exact in every JSON reader."""


def _host(text: str) -> str:
    try:
        [(host, _)] = network(text)
    except ValueError as error:
        raise PydanticCustomError("host", "must be HOST, HOST:PORT or default") from error
    if host == NONE:
        raise PydanticCustomError("host", "`none` is no host: a task may always have no network")
    return text.lower()


def _added(text: str) -> str:
    if (host := _host(text)) == DEFAULT:
        raise PydanticCustomError("host", "name hosts: they are added to the default list")
    return host


Name = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(one_line)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(one_line)]
Host = Annotated[str, StringConstraints(max_length=255), AfterValidator(_host)]
AddedHost = Annotated[str, StringConstraints(max_length=255), AfterValidator(_added)]
Amount = Annotated[int, Field(ge=0, le=MAX_BUDGET)]


class PolicyRules(RequestBody):
    """What tasks may use; an empty list allows everything. `models` and `images` are patterns with `*`.

    `hosts` are what a task may connect to, `default` for the product's list; `network` is added to that list. A task
    that names no provider gets `default_provider`, or the first of `providers`. `max_budget_nano_usd` bounds the budget of a
    task, in billionths of a dollar, and is the budget of one that names none. `task_visibility` says which tasks a member
    sees and steers: their own, those of their teams too, or all of the organisation. Owners and admins see all.
    """

    agents: list[Name] = Field(default_factory=list, max_length=64)
    models: list[Pattern] = Field(default_factory=list, max_length=64)
    providers: list[Name] = Field(default_factory=list, max_length=64)
    images: list[Pattern] = Field(default_factory=list, max_length=64)
    hosts: list[Host] = Field(default_factory=list, max_length=200)
    network: list[AddedHost] = Field(default_factory=list, max_length=200)
    default_provider: Name | None = None
    max_budget_nano_usd: Annotated[int, Field(ge=1, le=MAX_BUDGET)] | None = None
    task_visibility: TaskVisibility = "organisation"


class PolicyAnswer(BaseModel):
    """The policy in force."""

    agents: list[str]
    models: list[str]
    providers: list[str]
    images: list[str]
    hosts: list[str]
    network: list[str]
    default_provider: str | None
    max_budget_nano_usd: int | None
    task_visibility: TaskVisibility


class NewBudget(RequestBody):
    """Billionths of a dollar a month; null lifts the limit."""

    nano_usd: Amount | None


def add_routes(api: APIRouter, runtime: Runtime, support: Support) -> None:
    """The routes `/v1/org/policy` and the budgets."""
    handler = CommandHandler(runtime.log, runtime.clock)

    async def record(event: policy.PolicyEvent) -> OrgChanged:
        handled = await handler.handle(POLICY, policy.stream_of(event.org), event)
        return await support.changed(event.org, handled.position)

    @api.get("/v1/org/policy", tags=TAGS, responses=problems(403, 503))
    async def get_policy(principal: Caller) -> PolicyAnswer:
        """What the organisation allows the tasks of its members."""
        found = await policy.read_policy(runtime.log, principal.org)
        rules = found.rules or OrgPolicySet(org=principal.org, by=principal.user)
        return PolicyAnswer(**rules.model_dump(exclude={"org", "by"}))

    @api.put("/v1/org/policy", tags=TAGS, responses=problems(403, 422, 503))
    async def set_policy(principal: Caller, body: PolicyRules) -> OrgChanged:
        """Set what tasks may use from here on; it replaces the policy before it. Tasks that run go on."""
        lists = {name: tuple(value) if isinstance(value, list) else value for name, value in body}
        return await record(OrgPolicySet(org=principal.org, by=principal.user, **lists))

    @api.put("/v1/org/budget", tags=TAGS, responses=problems(403, 422, 503))
    async def set_org_budget(principal: Caller, body: NewBudget) -> OrgChanged:
        """Set what the models of all tasks may cost in a month."""
        return await record(MonthlyBudgetSet(org=principal.org, by=principal.user, nano_usd=body.nano_usd))

    @api.put("/v1/org/members/{user}/budget", tags=TAGS, responses=problems(403, 404, 422, 503))
    async def set_member_budget(principal: Caller, user: str, body: NewBudget) -> OrgChanged:
        """Set what the models of one member's tasks may cost in a month."""
        if principal.org not in runtime.verifier.memberships.joined(user):
            raise MemberNotFound(user)
        return await record(
            MonthlyBudgetSet(org=principal.org, by=principal.user, user=user, nano_usd=body.nano_usd)
        )

    @api.put("/v1/org/teams/{team}/budget", tags=TAGS, responses=problems(403, 404, 422, 503))
    async def set_team_budget(principal: Caller, team: str, body: NewBudget) -> OrgChanged:
        """Set what the models of one team's tasks may cost in a month."""
        if runtime.verifier.teams.get(principal.org, team) is None:
            raise TeamNotFound(team)
        return await record(
            MonthlyBudgetSet(org=principal.org, by=principal.user, team=team, nano_usd=body.nano_usd)
        )
