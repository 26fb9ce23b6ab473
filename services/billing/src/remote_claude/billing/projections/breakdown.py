"""Queries on the usage view: sums by what cost can be allocated by."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

GROUPS = {
    "day": "u.day",
    "person": "t.person",
    "repository": "t.repository",
    "label": "l.key || '=' || l.value",
    "agent": "t.agent",
    "task": "u.task",
    "model": "nullif(split_part(k.key, '|', 2), '')",
}
LABELS = "LEFT JOIN LATERAL jsonb_each_text(t.labels) l ON true"

# Tokens of all kinds and models count as one meter, unless the question is about models.
QUERY = """
WITH found AS (
    SELECT {group} AS grouped, {meter} AS meter,
           k.value::numeric - coalesce((u.written_off ->> k.key)::numeric, 0) AS quantity
    FROM billing_usage.usage u LEFT JOIN billing_usage.task t USING (org, task) {labels},
         LATERAL jsonb_each_text(u.metered) k
    WHERE u.org = %(org)s AND u.day >= %(since)s {only}
    UNION ALL
    SELECT {executed}, 'executions', 1
    FROM billing_usage.execution u LEFT JOIN billing_usage.task t USING (org, task) {labels}
    WHERE u.org = %(org)s AND u.day >= %(since)s AND {executions}
), summed AS (
    SELECT grouped, meter, sum(quantity) AS quantity FROM found GROUP BY grouped, meter
)
SELECT grouped, jsonb_object_agg(meter, quantity) AS quantities FROM summed WHERE quantity <> 0
GROUP BY grouped
ORDER BY coalesce(sum(quantity) FILTER (WHERE meter = 'model_nano_usd'), 0) DESC, sum(quantity) DESC, grouped
LIMIT %(limit)s
"""


async def breakdown(
    connection: AsyncConnection[Any], org: str, by: str, since: str, limit: int
) -> list[tuple[str | None, dict[str, int]]]:
    """(group, meter -> quantity) since a day, by day in order, otherwise the largest first."""
    models = by == "model"
    query = QUERY.format(
        group=GROUPS[by],
        meter="split_part(k.key, '|', 3)" if models else "split_part(k.key, '|', 1)",
        labels=LABELS if by == "label" else "",
        only="AND k.key LIKE '%%model_tokens|%%'" if models else "",
        executed="NULL::text" if models else GROUPS[by],
        executions="false" if models else "true",
    )
    found = await connection.execute(query.encode(), {"org": org, "since": since, "limit": limit})
    groups = [
        (row[0], {meter: int(n) for meter, n in sorted(row[1].items())}) for row in await found.fetchall()
    ]
    return sorted(groups, key=lambda group: group[0] or "") if by == "day" else groups
