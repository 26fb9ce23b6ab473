"""What is spent of this month's money, against the budgets of organisation, team and person, and against the plan."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from remote_claude.access.policy import read_policy
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.budgets import MonthAnswer, MonthRequest, MonthSpent, PlanSpent
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
        budgets = (await read_policy(runtime.log, org)).budgets
        async with query_for(runtime.pool, UsageView, org) as connection:
            account = await bills.plan(connection, org)
        if budgets or (account is not None and _bounds_money(account[2])):
            await runtime.projectors[UsageView.name].wait_for(runtime.tail.position, CAUGHT_UP_S)
        async with query_for(runtime.pool, UsageView, org) as connection:
            period = period_at(account[1] if account else CALENDAR, runtime.clock())
            whole = await _spent(connection, org, period)
            own = await _spent(connection, org, period, "person", user)
            teams = await _spent(connection, org, period, "team", team) if team is not None else 0
            plan = await _plan(connection, org, period, account[0], account[2]) if account else PlanSpent()
        return MonthAnswer(
            period=period.id,
            ends_at=period.ends_at,
            organisation=MonthSpent(spent_nano_usd=whole, limit_nano_usd=budgets.get(None)),
            team=MonthSpent(
                spent_nano_usd=teams, limit_nano_usd=budgets.get(team) if team is not None else None
            ),
            person=MonthSpent(spent_nano_usd=own, limit_nano_usd=budgets.get(user)),
            plan=plan,
        )


def _bounds_money(allowed: Entitlements) -> bool:
    return not allowed.overage and (allowed.model_nano_usd, allowed.total_nano_usd) != (None, None)


async def _plan(
    connection: AsyncConnection[Any], org: str, period: Period, name: str, allowed: Entitlements
) -> PlanSpent:
    """What the plan bounds of the period's money, and how much of it is spent; nothing where it is soft."""
    if not _bounds_money(allowed):
        return PlanSpent(plan=name)
    bill = await bills.period_bill(connection, org, period.id)
    lines = bill.lines if bill is not None else ()
    used = [line for line in lines if line.meter != "subscription"]
    model = sum(line.quantity for line in used if line.meter == "model_nano_usd")
    return PlanSpent(
        plan=name,
        model=MonthSpent(spent_nano_usd=model, limit_nano_usd=allowed.model_nano_usd),
        total=MonthSpent(
            spent_nano_usd=sum(line.amount_nano for line in used), limit_nano_usd=allowed.total_nano_usd
        ),
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
