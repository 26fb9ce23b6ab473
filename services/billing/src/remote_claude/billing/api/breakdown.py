"""What was used, by day, person, team, repository, label, model, agent or task."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from remote_claude.billing.projections.breakdown import breakdown, task_breakdown
from remote_claude.billing.projections.usage import UsageView
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import Freshness
from remote_claude.edge.models import problems
from remote_claude.eventsourcing.postgres.tables import query_for
from remote_claude.runtime.service import Runtime

AFTER = r"^[0-9]{1,18}\.task_[0-9a-z]{1,64}$"

Dimension = Literal["day", "person", "team", "repository", "label", "model", "agent", "task"]


class UsageGroup(BaseModel):
    """`group` is null where the dimension has no value. `quantities`: meter -> quantity in its smallest unit."""

    group: str | None
    quantities: dict[str, int]


class UsageBreakdown(BaseModel):
    """Days are UTC, `until` included. Repositories and labels are named by their keyed hashes.

    Of a task it is all that it has used, if its last use was on one of these days. `next` is the `after` of the next page of
    tasks, null at the end.
    """

    by: Dimension
    since: str
    until: str
    groups: list[UsageGroup]
    next: str | None
    as_of: int


def add_routes(api: APIRouter, runtime: Runtime, fresh: Freshness) -> None:
    """The route `/v1/usage/by/{dimension}`."""
    reads: dict[str, Any] = {"dependencies": [Depends(fresh)], "responses": problems(401, 403, 503)}

    @api.get("/usage/by/{dimension}", operation_id="get_usage_breakdown", **reads)
    async def get_usage_breakdown(
        dimension: Dimension,
        principal: Caller,
        last: Annotated[int, Query(ge=1, le=3660, description="How many days back")] = 30,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
        after: Annotated[
            str | None, Query(pattern=AFTER, description="`next` of the page before; of tasks only")
        ] = None,
    ) -> UsageBreakdown:
        """What the organisation has used in the last days, by one dimension, the largest model use first."""
        position, today = fresh.as_of, runtime.clock().date()
        since = today - timedelta(days=last - 1)
        async with query_for(runtime.pool, UsageView, principal.org) as connection:
            if dimension == "task":
                found = await task_breakdown(
                    connection, principal, since.isoformat(), limit + 1, _parsed(after)
                )
            else:
                found = await breakdown(connection, principal.org, dimension, since.isoformat(), limit)
        groups = [UsageGroup(group=group, quantities=quantities) for group, quantities in found[:limit]]
        more = dimension == "task" and len(found) > limit
        return UsageBreakdown(
            by=dimension,
            since=since.isoformat(),
            until=today.isoformat(),
            groups=groups,
            next=_position(groups[-1]) if more else None,
            as_of=position,
        )


def _position(last: UsageGroup) -> str:
    """Where the page ends that has this task last."""
    return f"{last.quantities.get('model_nano_usd', 0)}.{last.group}"


def _parsed(after: str | None) -> tuple[int, str] | None:
    if after is None:
        return None
    cost, task = after.split(".")
    return int(cost), task
