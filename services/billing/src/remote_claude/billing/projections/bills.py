"""Queries on the usage view: the cost of a period or a task, and the events behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from remote_claude.access.principal import Principal
from remote_claude.billing.domain.bill import Bill, Sum, bill
from remote_claude.billing.domain.rating import Key, Line, allocate
from remote_claude.billing.projections.metering import key_of, key_text
from remote_claude.billing.projections.tables import RARE_METERS
from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.prices import PriceBook

EVIDENCE = """
SELECT * FROM (
    (SELECT period, segment, task, NULL::int AS attempt, event_id, position,
            'executions' AS key, 1::numeric AS quantity
     FROM billing_usage.execution WHERE {executions} ORDER BY position LIMIT %(limit)s)
    UNION ALL
    (SELECT period, segment, task, attempt, event_id, position, k.key,
            k.value::numeric - coalesce((u.written_off ->> k.key)::numeric, 0) AS quantity
     FROM billing_usage.usage u,
          LATERAL (SELECT key, value #>> '{{}}' AS value FROM jsonb_each(u.metered)
                   UNION ALL SELECT key, '0' FROM jsonb_each(u.written_off) WHERE NOT u.metered ? key) k
     WHERE {usage} AND k.value::numeric <> coalesce((u.written_off ->> k.key)::numeric, 0)
     ORDER BY position, k.key LIMIT %(limit)s)
) found ORDER BY position, key LIMIT %(limit)s
"""

# The tasks of a day in the order of their ids: what is before one, and its own.
OF_DAY = """
SELECT day, coalesce(sum(quantity) FILTER (WHERE task < %(task)s), 0), sum(quantity) FILTER (WHERE task = %(task)s)
FROM (
    SELECT day, task, 1::numeric AS quantity FROM billing_usage.execution
    WHERE org = %(org)s AND day = ANY (%(days)s) AND task <= %(task)s
      AND period = %(period)s AND segment = %(segment)s AND 'executions' = ANY (%(keys)s)
    UNION ALL
    SELECT day, task, coalesce((metered ->> k)::numeric, 0) - coalesce((written_off ->> k)::numeric, 0)
    FROM billing_usage.usage, unnest(%(keys)s::text[]) AS k
    WHERE org = %(org)s AND day = ANY (%(days)s) AND task <= %(task)s
      AND period = %(period)s AND segment = %(segment)s
) found GROUP BY day HAVING count(*) FILTER (WHERE task = %(task)s) > 0
"""
DAYS = """
SELECT day, sum(metered - written_off) FROM billing_usage.total
WHERE org = %(org)s AND period = %(period)s AND segment = %(segment)s AND key = ANY (%(keys)s)
GROUP BY day ORDER BY day
"""
DAYS_OF_TASK = """
SELECT day FROM billing_usage.usage WHERE org = %(org)s AND task = %(task)s
UNION SELECT day FROM billing_usage.execution WHERE org = %(org)s AND task = %(task)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An event behind a line: `quantity` of `meter`, in its own unit. `model` and `token` for tokens."""

    meter: str
    model: str | None = None
    token: str | None = None
    period: str
    segment: int
    task: str
    attempt: int | None
    event_id: str
    position: int
    quantity: int


async def period_bill(
    connection: AsyncConnection[Any], org: str, period: str, *, until: int | None = None
) -> Bill | None:
    """The bill of a period, or None when it has not been opened. `until` leaves out that generation and later ones."""
    found = await _all(
        connection,
        "SELECT starts_at, ends_at, currency FROM billing_usage.period WHERE org = %s AND period = %s",
        (org, period),
    )
    if not found:
        return None
    segments = await _all(
        connection,
        "SELECT number, starts_at, price_book FROM billing_usage.segment"
        " WHERE org = %s AND period = %s ORDER BY number",
        (org, period),
    )
    sums = await _all(
        connection,
        "SELECT generation, segment, key, sum(metered) AS metered, sum(written_off) AS written_off,"
        " sum(events) AS events FROM billing_usage.total"
        " WHERE org = %s AND period = %s GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        (org, period),
    )
    return bill(
        org=org,
        period=period,
        segments=[(s["number"], s["starts_at"], PriceBook(**s["price_book"])) for s in segments],
        sums=[_sum(row) for row in sums],
        until=until,
        **found[0],
    )


def _sum(row: Mapping[str, Any]) -> Sum:
    return Sum(
        generation=row["generation"],
        segment=row["segment"],
        key=key_of(row["key"]),
        metered=int(row["metered"]),
        written_off=int(row["written_off"]),
        events=int(row["events"]),
    )


async def generation(connection: AsyncConnection[Any], org: str, period: str) -> int | None:
    """How often what was metered of a period has been invoiced; None when it has not been opened."""
    found = await _all(
        connection,
        "SELECT generation FROM billing_usage.period WHERE org = %s AND period = %s",
        (org, period),
    )
    return found[0]["generation"] if found else None


async def plan(connection: AsyncConnection[Any], org: str) -> tuple[str, str, Entitlements] | None:
    """The plan that an organisation is on, the anchor of its periods, and what the plan allows."""
    found = await _all(
        connection,
        "SELECT plan, anchor, entitlements FROM billing_usage.account WHERE org = %s",
        (org,),
    )
    return (found[0]["plan"], found[0]["anchor"], Entitlements(**found[0]["entitlements"])) if found else None


async def sees_task(connection: AsyncConnection[Any], who: Principal, task: str) -> bool:
    """Whether the organisation has ever submitted this task, and somebody of it may see it."""
    query = "SELECT person, team FROM billing_usage.task WHERE org = %s AND task = %s"
    found = await _all(connection, query, (who.org, task))
    return any(who.sees(row["person"], row["team"]) for row in found)


async def tasks_started_by(connection: AsyncConnection[Any], who: Principal, starter: str) -> list[str]:
    """The tasks that a batch, a schedule or a trigger has submitted, of those that the caller sees."""
    query = (
        "SELECT task, person, team FROM billing_usage.task WHERE org = %s AND started_by = %s ORDER BY task"
    )
    found = await _all(connection, query, (who.org, starter))
    return [row["task"] for row in found if who.sees(row["person"], row["team"])]


async def evidence(
    connection: AsyncConnection[Any],
    org: str,
    *,
    period: str | None = None,
    task: str | None = None,
    meter: str | None = None,
    after: int = 0,
    limit: int | None = None,
    until: int | None = None,
) -> list[Evidence]:
    """The events behind the bill of a period or of a task, in log order, after a position."""
    parameters = {
        "org": org, "period": period, "task": task, "meter": meter, "after": after, "limit": limit,
        "until": until,
    }  # fmt: skip
    conditions = ["org = %(org)s", "position > %(after)s"]
    conditions += [f"{name} = %({name})s" for name in ("period", "task") if parameters[name] is not None]
    if until is not None:
        conditions.append("generation < %(until)s")
    executions, usage = list(conditions), list(conditions)
    if meter is not None:
        executions.append("%(meter)s = 'executions'")
        usage.append("split_part(k.key, '|', 1) = %(meter)s")
        if meter in RARE_METERS:  # as written in the condition of its index
            usage.append(f"'{meter}' = ANY (meters)")
    query = EVIDENCE.format(executions=" AND ".join(executions), usage=" AND ".join(usage))
    found = []
    for row in await _all(connection, query, parameters):
        key = key_of(row.pop("key"))
        row["quantity"] = int(row["quantity"])
        found.append(Evidence(meter=key.meter, model=key.model, token=key.token, **row))
    return found


async def task_share(
    connection: AsyncConnection[Any], whole: Bill, line: Line, keys: Sequence[Key], task: str
) -> int:
    """A task's part of a line, in whole billionths. The parts of all tasks sum to the line.

    The line is split over its days by largest remainder, and a day over its tasks by what they and those before them used.
    """
    parameters: dict[str, Any] = {
        "org": whole.org, "period": whole.period, "segment": line.segment, "task": task,
        "keys": [key_text(key) for key in keys],
    }  # fmt: skip
    days = {row["day"]: int(row["sum"]) for row in await _all(connection, DAYS, parameters)}
    amounts = dict(zip(days, allocate(line.amount_nano, list(days.values())), strict=True))
    parameters["days"] = [row["day"] for row in await _all(connection, DAYS_OF_TASK, parameters)]
    share = 0
    for day, before, own in await (await connection.execute(OF_DAY.encode(), parameters)).fetchall():
        if of_day := days.get(day):
            amount, before = amounts[day], int(before)
            share += amount * (before + int(own)) // of_day - amount * before // of_day
    return share


def simple_share(line: Line, quantity: int) -> int | None:
    """A task's part where every task's is a whole number; None where remainders decide."""
    each = line.exact / line.quantity
    return int(each * quantity) if each.denominator == 1 else None


async def _all(
    connection: AsyncConnection[Any], query: str, values: tuple[Any, ...] | Mapping[str, Any]
) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode(), values)
        return await cursor.fetchall()
