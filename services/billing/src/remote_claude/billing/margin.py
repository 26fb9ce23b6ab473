"""Margin: what organisations are charged beside what their use costs the operator, by a table of the operator's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from psycopg import AsyncConnection
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from remote_claude.billing.projections import bills
from remote_claude.contracts.prices import Price
from remote_claude.eventsourcing.postgres.schemas import Pool, borrow

USED = """
SELECT coalesce(t.provider, 'default') AS provider, k.key, sum(k.value::numeric)
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
class Margin:
    """A period of an organisation: billionths of the currency's unit."""

    org: str
    period: str
    plan: str
    revenue: int
    cost: int


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
    used = await (await connection.execute(USED, [org, period])).fetchall()
    cost = sum(
        (costs.get(provider, costs["default"]).of(meter, int(n)) for provider, meter, n in used), Fraction(0)
    )
    revenue = bill.total_nano if bill is not None else 0
    return Margin(org=org, period=period, plan=plans or "", revenue=revenue, cost=round(cost))
