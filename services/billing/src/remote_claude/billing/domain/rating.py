"""Rating: from the segments of a period, with their quantities and price books, to the lines of a bill. Pure and exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple

from remote_claude.contracts.meters import declared
from remote_claude.contracts.prices import (
    Allowance,
    Flat,
    Graduated,
    Metered,
    Minimum,
    PerUnit,
    PriceBook,
    Tiered,
    Volume,
)

UNITS = {"subscription": "period", "minimum": "period"} | {
    name: meter.unit for name, meter in declared().meters.items()
}
DETAILS = frozenset(name for name, meter in declared().meters.items() if not meter.charged)
"""Meters that explain others, and are charged only where a price book has a price for them."""


class Key(NamedTuple):
    """What a quantity is of: a meter, and for tokens the model and their kind."""

    meter: str
    model: str | None = None
    token: str | None = None


Quantities = Mapping[Key, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a period in which one price book holds. `share` is its part of the period's time, 0 to 1."""

    number: int = 0
    starts_at: str
    ends_at: str
    share: Fraction = Fraction(1)
    price_book: PriceBook
    quantities: Quantities = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`quantity` of a meter, of which `included` is free, comes to `exact` billionths of the currency's unit.

    `unit_price` is None where tiers make the price. `share` is the part of the period that a flat amount is for.
    """

    meter: str
    model: str | None = None
    token: str | None = None
    segment: int
    price_book: str
    unit: str
    quantity: int
    included: int
    unit_price: str | None
    exact: Fraction
    share: Fraction = Fraction(1)

    @property
    def key(self) -> Key:
        return Key(self.meter, self.model, self.token)

    @property
    def amount_nano(self) -> int:
        """The exact amount, rounded half to even."""
        return round(self.exact)


def rate(segments: Sequence[Segment]) -> list[Line]:
    """The lines of a period, in the order of its segments and price books; a meter that was not used has none."""
    return [line for segment in segments for line in _rate(segment)]


def target_of(key: Key, book: PriceBook) -> Key | None:
    """The line that a quantity is counted on: that of the narrowest price for it. None for a detail without a price."""
    meter, model, token = key
    priced = {Key(*c.target) for c in book.components if isinstance(c, PerUnit | Tiered)}
    for candidate in (key, Key(meter, model), Key(meter, None, token), Key(meter)):
        if candidate in priced:
            return candidate
    return None if meter in DETAILS else Key(meter)


def total(lines: Sequence[Line]) -> int:
    """Billionths of the currency's unit."""
    return sum(line.amount_nano for line in lines)


def allocate(amount: int, weights: Sequence[int]) -> list[int]:
    """Split an amount by weights of 0 or more: whole parts that sum to it, by largest remainder; earlier wins a tie."""
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    parts = [amount * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda n: (-(amount * weights[n] % whole), n))
    for n in by_remainder[: amount - sum(parts)]:
        parts[n] += 1
    return parts


def share_of(start: str, end: str, period_start: str, period_end: str) -> Fraction:
    """The part of a period's time that a segment has."""
    first, last, opens, closes = map(datetime.fromisoformat, (start, end, period_start, period_end))
    return Fraction((last - first) // _MICROSECOND, (closes - opens) // _MICROSECOND)


_MICROSECOND = datetime.resolution


def _rate(segment: Segment) -> Iterator[Line]:
    book = segment.price_book
    shown: dict[str, Any] = {"segment": segment.number, "price_book": book.version}
    for flat in (c for c in book.components if isinstance(c, Flat) and Fraction(c.amount)):
        exact = Fraction(flat.amount) * segment.share
        yield Line(
            meter="subscription", unit=UNITS["subscription"], quantity=1, included=0, unit_price=flat.amount,
            exact=exact, share=segment.share, **shown,
        )  # fmt: skip
    metered = [_metered_line(segment, target, quantity, shown) for target, quantity in _by_target(segment)]
    yield from metered
    for minimum in (c for c in book.components if isinstance(c, Minimum)):
        missing = Fraction(minimum.amount) * segment.share - sum(line.exact for line in metered)
        if missing > 0:
            yield Line(
                meter="minimum", unit=UNITS["minimum"], quantity=1, included=0, unit_price=minimum.amount,
                exact=missing, share=segment.share, **shown,
            )  # fmt: skip


def _by_target(segment: Segment) -> list[tuple[Key, int]]:
    """What was used, by the narrowest component that takes it; usage without a component has a line without a price."""
    sums: dict[Key, int] = {}
    for key, quantity in segment.quantities.items():
        if (target := target_of(key, segment.price_book)) is not None:
            sums[target] = sums.get(target, 0) + quantity
    order = {meter: n for n, meter in enumerate(UNITS)}
    used = [(key, quantity) for key, quantity in sums.items() if quantity]
    return sorted(used, key=lambda u: (order.get(u[0].meter, len(order)), u[0].model or "", u[0].token or ""))


def _metered_line(segment: Segment, target: Key, quantity: int, shown: dict[str, Any]) -> Line:
    mine = [c for c in segment.price_book.components if isinstance(c, Metered) and Key(*c.target) == target]
    price = next((c for c in mine if isinstance(c, PerUnit | Tiered)), None)
    allowance = next((c for c in mine if isinstance(c, Allowance)), None)
    included = _included(quantity, allowance, segment.share) if allowance is not None else 0
    charged = quantity - included
    unit_price: str | None = "0"
    exact = Fraction(0)
    match price:
        case PerUnit():
            unit_price, exact = price.price, charged * Fraction(price.price)
        case Graduated():
            unit_price, exact = None, _graduated(charged, price)
        case Volume():
            unit_price, exact = None, _volume(charged, price)
    return Line(
        meter=target.meter, model=target.model, token=target.token, unit=UNITS.get(target.meter, target.meter),
        quantity=quantity, included=included, unit_price=unit_price, exact=exact, **shown,
    )  # fmt: skip


def _included(quantity: int, allowance: Allowance, share: Fraction) -> int:
    if allowance.quantity is None:
        return quantity
    return max(0, min(quantity, round(allowance.quantity * share)))


def _graduated(quantity: int, price: Graduated) -> Fraction:
    exact, below = Fraction(0), 0
    for tier in price.tiers:
        upper = quantity if tier.up_to is None else min(quantity, tier.up_to)
        exact += max(0, upper - below) * Fraction(tier.price)
        below = max(below, upper)
    return exact


def _volume(quantity: int, price: Volume) -> Fraction:
    tier = next(t for t in price.tiers if t.up_to is None or quantity <= t.up_to)
    return quantity * Fraction(tier.price)
