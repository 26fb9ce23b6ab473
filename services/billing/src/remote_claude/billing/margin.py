"""Margin: what organisations are charged beside what their use costs the operator, by a table of the operator's own."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from psycopg import AsyncConnection
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from remote_claude.billing.domain.rating import allocate
from remote_claude.billing.projections import bills
from remote_claude.contracts.prices import Price
from remote_claude.eventsourcing.postgres.schemas import Pool, borrow

NO_PROVIDER = "-"
"""What is charged and was used at no provider."""

USED = """
SELECT coalesce(t.provider, '-') AS provider, k.key, sum(k.value::numeric)
FROM billing_usage.usage u LEFT JOIN billing_usage.task t USING (org, task), LATERAL jsonb_each_text(u.metered) k
WHERE u.org = %s AND u.period = %s AND k.key IN ('vcpu_ms', 'gib_ms', 'egress_bytes', 'model_nano_usd')
GROUP BY 1, 2
"""
PERIODS = """
SELECT org, period, plans FROM (
    SELECT p.org, p.period, row_number() OVER (PARTITION BY p.org ORDER BY p.starts_at DESC) AS n,
           (SELECT string_agg(DISTINCT s.plan, '+' ORDER BY s.plan) FROM billing_usage.segment s
            WHERE s.org = p.org AND s.period = p.period) AS plans
    FROM billing_usage.period p
) periods WHERE n <= %s ORDER BY org, period
"""


class InvalidCosts(Exception):
    """The file is no table of costs."""

    code = "invalid_costs"


def _percent(text: str) -> str:
    if not 0 <= Fraction(text) <= 100:
        raise ValueError(f"{text!r} is no percentage")
    return text


class Costs(BaseModel):
    """What a provider costs: billionths of the currency's unit, for a vCPU-millisecond, a GiB-millisecond and a byte.

    Also for what is written off: the operator pays for lost attempts. `model_percent` is what the model provider charges of the
    list price.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vcpu_ms: Price = "0"
    gib_ms: Price = "0"
    egress_bytes: Price = "0"
    model_percent: Annotated[str, AfterValidator(_percent)] = "100"

    def of(self, meter: str, quantity: int) -> Fraction:
        """Billionths of the currency's unit."""
        if meter == "model_nano_usd":
            return quantity * Fraction(self.model_percent) / 100
        return quantity * Fraction(getattr(self, meter))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderMargin:
    """What is charged for use at a provider, and what that use costs, in billionths of the currency's unit."""

    revenue: int = 0
    cost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """A period of an organisation: billionths of the currency's unit. The sum over `providers`.

    A line of a meter that providers are paid for is split by how much was used at each. What is charged for anything else, as
    a subscription, is under the provider `-`.
    """

    org: str
    period: str
    plan: str
    revenue: int
    cost: int
    providers: dict[str, ProviderMargin]


def parse(text: str) -> dict[str, Costs]:
    """The costs of each provider in a TOML file; `default` is for any other. Raises `InvalidCosts`."""
    try:
        found = tomllib.loads(text).get("providers", {})
        costs = {name: Costs.model_validate(given) for name, given in found.items()}
    except (tomllib.TOMLDecodeError, ValidationError, AttributeError) as error:
        raise InvalidCosts(f"no table of costs: {str(error).splitlines()[0]}") from error
    if "default" not in costs:
        raise InvalidCosts("[providers.default] is needed, for a provider that the file does not name")
    return costs


async def margins(pool: Pool, costs: dict[str, Costs], last: int) -> list[Margin]:
    """The last periods of every organisation: its bill without credits and tax, and what its use costs."""
    async with borrow(pool) as connection:
        found = await (await connection.execute(PERIODS, [last])).fetchall()
        return [await _margin(connection, costs, *row) for row in found]


async def _margin(
    connection: AsyncConnection[Any], costs: dict[str, Costs], org: str, period: str, plans: str
) -> Margin:
    bill = await bills.period_bill(connection, org, period)
    rows = await (await connection.execute(USED, [org, period])).fetchall()
    used = {(provider, meter): int(quantity) for provider, meter, quantity in rows}
    names = sorted({NO_PROVIDER, *(provider for provider, _ in used)})
    cost = dict.fromkeys(names, Fraction(0))
    for (provider, meter), quantity in used.items():
        cost[provider] += costs.get(provider, costs["default"]).of(meter, quantity)
    revenue = Counter[str]()
    for line in bill.lines if bill is not None else ():
        weights = [used.get((name, line.meter), 0) for name in names]
        parts = allocate(line.amount_nano, weights) if any(weights) else [line.amount_nano]
        revenue.update(dict(zip(names if any(weights) else [NO_PROVIDER], parts, strict=True)))
    found = {
        name: ProviderMargin(revenue=revenue[name], cost=round(cost[name]))
        for name in names
        if revenue[name] or cost[name]
    }
    return Margin(
        org=org,
        period=period,
        plan=plans or "",
        revenue=sum(one.revenue for one in found.values()),
        cost=sum(one.cost for one in found.values()),
        providers=found,
    )
