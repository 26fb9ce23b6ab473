"""What is left of this month's money."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from remote_claude.billing.month_answers import Months
from remote_claude.contracts.budgets import MonthRequest
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import Freshness
from remote_claude.edge.models import problems


class SpentAnswer(BaseModel):
    """Billionths of a dollar; `limit_nano_usd` is null where no budget is set."""

    spent_nano_usd: int
    limit_nano_usd: int | None


class MonthBudget(BaseModel):
    """What models have cost this month, and the budgets that bound it.

    `person` is the caller, `team` the first team that they are in; null for those who are in none.
    """

    period: str
    ends_at: str
    organisation: SpentAnswer
    team: SpentAnswer | None
    person: SpentAnswer
    as_of: int


def add_routes(api: APIRouter, months: Months, fresh: Freshness) -> None:
    """The route `/v1/usage/budget`."""

    @api.get("/usage/budget", dependencies=[Depends(fresh)], responses=problems(401, 403, 503))
    async def get_month(principal: Caller) -> MonthBudget:
        """What models have cost this month, of the organisation, the caller and their team, against their budgets."""
        team = next(iter(principal.teams), None)
        month = await months.of(MonthRequest(org=principal.org, user=principal.user, team=team))
        return MonthBudget(
            period=month.period,
            ends_at=month.ends_at,
            organisation=SpentAnswer(**dict(month.organisation)),
            team=SpentAnswer(**dict(month.team)) if team is not None else None,
            person=SpentAnswer(**dict(month.person)),
            as_of=fresh.as_of,
        )
