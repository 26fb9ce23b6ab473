"""What models have cost this month, an organisation, a team and a person of it, against their budgets."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from remote_claude.access.policy import read_policy
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.budgets import MonthAnswer, MonthRequest, MonthSpent
from remote_claude.contracts.periods import CALENDAR, Period, period_at
from remote_claude.eventsourcing.postgres.tables import query_for
from remote_claude.runtime.service import Runtime

CAUGHT_UP_S = 1.0
"""How long an answer waits for the view to have what the log has."""

SPENT = """
SELECT coalesce(sum(metered - written_off), 0) FROM billing_usage.total
WHERE org = %(org)s AND period = %(period)s AND key IN ('model_nano_usd', 'customer_model_nano_usd')
"""
SPENT_BY = """
SELECT coalesce(sum(model_nano_usd + customer_model_nano_usd), 0) FROM billing_usage.group_day
WHERE org = %(org)s AND dimension = %(dimension)s AND day = ANY (%(days)s) AND name = %(name)s AND period = %(period)s
"""


class Months:
    """Answers from the usage view."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def of(self, request: MonthRequest) -> MonthAnswer:
        """The current month."""
        runtime, org, user, team = self._runtime, request.org, request.user, request.team
        await runtime.projectors[UsageView.name].wait_for(runtime.tail.position, CAUGHT_UP_S)
        budgets = (await read_policy(runtime.log, org)).budgets
        async with query_for(runtime.pool, UsageView, org) as connection:
            account = await bills.plan(connection, org)
            period = period_at(account[1] if account else CALENDAR, runtime.clock())
            whole = await _spent(connection, org, period)
            own = await _spent(connection, org, period, "person", user)
            teams = await _spent(connection, org, period, "team", team) if team is not None else 0
        return MonthAnswer(
            period=period.id,
            ends_at=period.ends_at,
            organisation=MonthSpent(spent_nano_usd=whole, limit_nano_usd=budgets.get(None)),
            team=MonthSpent(
                spent_nano_usd=teams, limit_nano_usd=budgets.get(team) if team is not None else None
            ),
            person=MonthSpent(spent_nano_usd=own, limit_nano_usd=budgets.get(user)),
        )


async def _spent(
    connection: AsyncConnection[Any], org: str, period: Period, dimension: str | None = None, name: str = ""
) -> int:
    """Nano-dollars of the organisation, or of one group of a dimension, on any key."""
    query = SPENT if dimension is None else SPENT_BY
    params = {"org": org, "period": period.id, "days": period.days(), "dimension": dimension, "name": name}
    row = await (await connection.execute(query.encode(), params)).fetchone()
    assert row is not None
    return int(row[0])
