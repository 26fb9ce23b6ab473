"""The effect of other prices: the periods of every organisation, rated again with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from remote_claude.billing.domain import bill as rating
from remote_claude.billing.domain.plans import Catalog
from remote_claude.billing.projections import bills
from remote_claude.eventsourcing.postgres.schemas import Pool, borrow

LAST_PERIODS = """
SELECT org, period FROM (
    SELECT org, period, row_number() OVER (PARTITION BY org ORDER BY starts_at DESC) AS n FROM billing_usage.period
) periods WHERE n <= %s ORDER BY org, period
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A period of an organisation: billionths of the currency's unit, `before` at its own prices."""

    org: str
    period: str
    plans: tuple[str, ...]
    before: int
    after: int


async def simulate(pool: Pool, catalog: Catalog, last: int) -> list[Simulated]:
    """Rate the last periods of every organisation at a catalog's prices. A plan that it lacks keeps its own.

    Usage that came late counts in the period that it belongs to.
    """
    async with borrow(pool) as connection:
        found = await (await connection.execute(LAST_PERIODS, [last])).fetchall()
        return [s for org, period in found if (s := await _period(connection, catalog, org, period))]


async def _period(
    connection: AsyncConnection[Any], catalog: Catalog, org: str, period: str
) -> Simulated | None:
    before = await bills.period_bill(connection, org, period)
    if before is None:
        return None
    found = await connection.execute(
        "SELECT plan FROM billing_usage.segment WHERE org = %s AND period = %s ORDER BY number", (org, period)
    )
    plans = [row[0] for row in await found.fetchall()]
    after = rating.bill(
        org=org,
        period=period,
        starts_at=before.starts_at,
        ends_at=before.ends_at,
        currency=before.currency,
        segments=[
            (s.number, s.starts_at, catalog.plans[plan].price_book if plan in catalog.plans else s.price_book)
            for s, plan in zip(before.segments, plans, strict=True)
        ],
        sums=before.sums,
    )
    return Simulated(
        org=org,
        period=period,
        plans=tuple(dict.fromkeys(plans)),
        before=before.total_nano,
        after=after.total_nano,
    )
