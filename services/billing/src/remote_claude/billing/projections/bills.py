"""Questions to the usage view: what a period, or a task, comes to, and by which events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.prices import Meter, PriceBook

COMPUTE: tuple[Meter, ...] = ("vcpu_ms", "gib_ms", "egress_bytes")
MEASURED: tuple[Meter, ...] = (*COMPUTE, "model_nano_usd")

EXECUTIONS = """
    SELECT task, period, event_id, position FROM billing_usage.execution
    WHERE org = %(org)s AND (%(period)s::text IS NULL OR period = %(period)s)
      AND (%(task)s::text IS NULL OR task = %(task)s)
"""
SAMPLES = """
    SELECT u.*, l.org IS NOT NULL AS lost
    FROM billing_usage.usage u LEFT JOIN billing_usage.lost_attempt l USING (org, task, attempt)
    WHERE org = %(org)s AND (%(period)s::text IS NULL OR period = %(period)s)
      AND (%(task)s::text IS NULL OR task = %(task)s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An event that a line stands on: `quantity` of `meter`, in its own unit."""

    meter: Meter
    period: str
    task: str
    attempt: int | None
    event_id: str
    position: int
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingPeriod:
    period: str
    starts_at: str
    ends_at: str
    price_book: PriceBook


async def period(connection: AsyncConnection[Any], org: str, name: str) -> BillingPeriod | None:
    """A period of an organisation, or None when it has not been opened."""
    row = await _one(
        connection,
        "SELECT period, starts_at, ends_at, price_book FROM billing_usage.period WHERE org = %s AND period = %s",
        (org, name),
    )
    return BillingPeriod(**{**row, "price_book": PriceBook(**row["price_book"])}) if row else None


async def plan(connection: AsyncConnection[Any], org: str) -> tuple[str, Entitlements] | None:
    """The plan that an organisation is on, and what it allows."""
    row = await _one(
        connection, "SELECT plan, entitlements FROM billing_usage.account WHERE org = %s", (org,)
    )
    return (row["plan"], Entitlements(**row["entitlements"])) if row else None


async def is_task(connection: AsyncConnection[Any], org: str, task: str) -> bool:
    """Whether the organisation has ever submitted this task."""
    query = "SELECT 1 FROM billing_usage.task WHERE org = %s AND task = %s"
    return await _one(connection, query, (org, task)) is not None


async def evidence(
    connection: AsyncConnection[Any], org: str, *, period: str | None = None, task: str | None = None
) -> list[Evidence]:
    """Every event that a bill of a period, or of a task, stands on, in log order."""
    asked = {"org": org, "period": period, "task": task}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(EXECUTIONS, asked)
        found = [
            Evidence(meter="executions", attempt=None, quantity=1, **row) for row in await cursor.fetchall()
        ]
        await cursor.execute(SAMPLES, asked)
        for row in await cursor.fetchall():
            for meter in MEASURED:
                quantity = int(row["cumulative"][meter]) - int(row["before"][meter])
                if quantity and not (row["lost"] and meter in COMPUTE):
                    place = {key: row[key] for key in ("period", "task", "attempt", "event_id", "position")}
                    found.append(Evidence(meter=meter, quantity=quantity, **place))
    return sorted(found, key=lambda e: (e.position, e.meter))


def quantities(found: Sequence[Evidence]) -> dict[Meter, int]:
    """The sum of each meter."""
    sums: Counter[Meter] = Counter()
    for item in found:
        sums[item.meter] += item.quantity
    return dict(sums)


async def model_tokens(connection: AsyncConnection[Any], org: str, name: str) -> dict[str, dict[str, int]]:
    """Tokens and server tools of a period: model -> kind -> count."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT cumulative -> 'model_use' AS upto, before -> 'model_use' AS before"
            " FROM billing_usage.usage WHERE org = %s AND period = %s",
            (org, name),
        )
        sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in await cursor.fetchall():
            for sign, side in ((1, row["upto"]), (-1, row["before"])):
                for use in side:
                    for kind, count in use["quantities"].items():
                        sums[use["model"]][kind] += sign * int(count)
    return {model: dict(kinds) for model, kinds in sorted(sums.items())}


async def _one(
    connection: AsyncConnection[Any], query: str, values: tuple[Any, ...]
) -> dict[str, Any] | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode(), values)
        return await cursor.fetchone()
