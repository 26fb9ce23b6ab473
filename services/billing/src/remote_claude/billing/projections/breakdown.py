"""Queries on the usage view: sums by what cost can be allocated by. Each reads sums, never the rows of a period."""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg import AsyncConnection

from remote_claude.access.principal import Principal
from remote_claude.billing.projections.tables import GROUP_METERS

BY_DAY = """
SELECT day, jsonb_object_agg(meter, quantity) FROM (
    SELECT day, split_part(key, '|', 1) AS meter, sum(metered - written_off) AS quantity
    FROM billing_usage.total WHERE org = %(org)s AND day >= %(since)s GROUP BY 1, 2
) summed WHERE quantity <> 0 GROUP BY day ORDER BY day LIMIT %(limit)s
"""
BY_GROUP = f"""
SELECT nullif(name, ''), to_jsonb(summed) - 'name' FROM (
    SELECT name, {", ".join(f"sum({meter}) AS {meter}" for meter in GROUP_METERS)} FROM billing_usage.group_day
    WHERE org = %(org)s AND dimension = %(by)s AND day >= %(since)s GROUP BY name
) summed WHERE ({", ".join(GROUP_METERS)}) <> ({", ".join("0" for _ in GROUP_METERS)})
ORDER BY model_nano_usd DESC, {" + ".join(GROUP_METERS)} DESC, name LIMIT %(limit)s
"""  # noqa: S608 - the names of our own columns
BY_MODEL = """
SELECT model, jsonb_object_agg(token, quantity) FROM (
    SELECT model, token, sum(quantity) AS quantity FROM billing_usage.model_day
    WHERE org = %(org)s AND day >= %(since)s GROUP BY 1, 2
) summed WHERE quantity <> 0 GROUP BY model ORDER BY sum(quantity) DESC, model LIMIT %(limit)s
"""
# The index has the dearest tasks of each day: no more of them are read than are shown, and only those in full.
BY_TASK = """
WITH days AS (SELECT DISTINCT day FROM billing_usage.total WHERE org = %(org)s AND day >= %(since)s),
found AS (
    SELECT found.task, found.model_nano_usd FROM days, LATERAL (
        SELECT task, model_nano_usd FROM billing_usage.task_use u
        WHERE u.org = %(org)s AND u.day = days.day {following} {seen}
        ORDER BY u.model_nano_usd DESC, u.task DESC LIMIT %(limit)s
    ) found
    ORDER BY found.model_nano_usd DESC, found.task DESC LIMIT %(limit)s
)
SELECT nullif(found.task, ''), u.quantities FROM found JOIN billing_usage.task_use u ON u.org = %(org)s AND u.task = found.task
ORDER BY found.model_nano_usd DESC, found.task DESC
"""
OF = {"day": BY_DAY, "model": BY_MODEL}
FOLLOWING = "AND (u.model_nano_usd, u.task) < (%(cost)s, %(task)s)"

SEEN = """AND EXISTS (SELECT FROM billing_usage.task t WHERE t.org = u.org AND t.task = u.task
    AND (t.person = %(user)s OR t.team = ANY (%(teams)s)))"""


class Used(NamedTuple):
    """A group, None where the dimension has no value, and meter -> quantity."""

    group: str | None
    quantities: dict[str, int]


async def breakdown(
    connection: AsyncConnection[Any], org: str, by: str, since: str, limit: int
) -> list[Used]:
    """What was used since a day by anything but tasks: by day in order, otherwise the largest first."""
    params = {"org": org, "by": by, "since": since, "limit": limit}
    found = await connection.execute(OF.get(by, BY_GROUP).encode(), params)
    return [_used(*row) for row in await found.fetchall()]


async def task_breakdown(
    connection: AsyncConnection[Any], who: Principal, since: str, limit: int, after: tuple[int, str] | None
) -> list[Used]:
    """All that each task that somebody may see has used, whose last use was not before a day, the dearest first.

    `after` is the model use and the id of a task: those that follow it.
    """
    params: dict[str, Any] = {"org": who.org, "since": since, "limit": limit}
    if not who.sees_all:
        params["user"], params["teams"] = who.user, list(who.teams if who.visibility == "team" else ())
    if after is not None:
        params["cost"], params["task"] = after
    query = BY_TASK.format(
        following=FOLLOWING if after is not None else "", seen="" if who.sees_all else SEEN
    )
    found = await connection.execute(query.encode(), params)
    return [_used(*row) for row in await found.fetchall()]


def _used(group: str | None, quantities: dict[str, Any]) -> Used:
    return Used(group, {meter: int(n) for meter, n in sorted(quantities.items()) if n})
