"""Rating: from the quantities of a period and its price book to the lines of a bill. Pure, exact, rounded once a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

from remote_claude.contracts.billing import PriceBook

Meter = Literal["subscription", "executions", "vcpu_ms", "gib_ms", "egress_bytes", "model_nano_usd"]

EXACT = Context(prec=60)

UNITS: dict[Meter, str] = {
    "subscription": "month",
    "executions": "execution",
    "vcpu_ms": "vCPU-ms",
    "gib_ms": "GiB-ms",
    "egress_bytes": "byte",
    "model_nano_usd": "nano-USD",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`quantity` of a meter, of which `included` is free, at `unit_price` nano-dollars: `amount_nano_usd`."""

    meter: Meter
    unit: str
    quantity: int
    included: int
    unit_price: str
    amount_nano_usd: int


def rate(quantities: Mapping[Meter, int], prices: PriceBook) -> list[Line]:
    """The lines of a bill, in a fixed order; a meter that was not used has none."""
    lines = []
    if Decimal(prices.subscription):
        lines.append(_line("subscription", 1, 0, prices.subscription))
    executions = quantities.get("executions", 0)
    included = (
        executions if prices.included_executions is None else min(executions, prices.included_executions)
    )
    if executions:
        lines.append(_line("executions", executions, included, prices.per_execution))
    priced: tuple[tuple[Meter, str], ...] = (
        ("vcpu_ms", prices.per_vcpu_ms),
        ("gib_ms", prices.per_gib_ms),
        ("egress_bytes", prices.per_egress_byte),
        ("model_nano_usd", prices.model_factor),
    )
    lines += [
        _line(meter, quantity, 0, price) for meter, price in priced if (quantity := quantities.get(meter, 0))
    ]
    return lines


def total(lines: list[Line]) -> int:
    """Nano-dollars."""
    return sum(line.amount_nano_usd for line in lines)


def _line(meter: Meter, quantity: int, included: int, price: str) -> Line:
    amount = EXACT.multiply(Decimal(quantity - included), Decimal(price))
    return Line(
        meter=meter,
        unit=UNITS[meter],
        quantity=quantity,
        included=included,
        unit_price=price,
        amount_nano_usd=int(amount.quantize(Decimal(1), ROUND_HALF_EVEN, EXACT)),
    )
