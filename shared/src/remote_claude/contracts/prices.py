"""Price books: what a plan costs, as a list of typed components. A book is checked when it is published.

Prices and amounts are billionths of the currency's unit (nano-dollars) as decimal strings. They are multiplied exactly
and rounded once per line.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from remote_claude.contracts.base import Quantity, Value

Meter = Literal[
    "executions", "vcpu_ms", "gib_ms", "egress_bytes", "storage_byte_days", "model_nano_usd", "model_tokens"
]
"""What is metered. `model_tokens` counts by model and kind of token, the others are plain numbers."""

LONGEST_PRICE = 40


def _price(text: str) -> str:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or price < 0 or len(text) > LONGEST_PRICE:
        raise ValueError(f"{text!r} is no price: a decimal number of 0 or more")
    return text


Price = Annotated[str, AfterValidator(_price)]


class Flat(Value):
    """`amount` for a whole period; the share of its time where a plan has only a part of it."""

    kind: Literal["flat"] = "flat"
    amount: Price


class Metered(Value):
    """A component about one meter. `model` and `token` narrow it; without them it takes what no narrower one takes."""

    meter: Meter
    model: str | None = None
    token: str | None = None

    @property
    def target(self) -> tuple[str, str | None, str | None]:
        """What it is about; a price book has one price, and one allowance, for each."""
        return self.meter, self.model, self.token


class PerUnit(Metered):
    """`price` for every unit that is not included."""

    kind: Literal["per_unit"] = "per_unit"
    price: Price


class Tier(Value):
    """Units up to and including `up_to`, counted from the first; None for all that follow."""

    up_to: Quantity | None
    price: Price


class Tiered(Metered):
    tiers: tuple[Tier, ...]

    @model_validator(mode="after")
    def _tiers_rise(self) -> Self:
        bounds = [tier.up_to for tier in self.tiers]
        if not bounds or bounds[-1] is not None:
            raise ValueError("the last tier has no up_to: it takes all that follow")
        closed = [0, *(bound for bound in bounds[:-1] if bound is not None)]
        if len(closed) != len(bounds) or any(a >= b for a, b in pairwise(closed)):
            raise ValueError("tiers have rising up_to, and only the last one has none")
        return self


class Graduated(Tiered):
    """Each unit at the price of the tier that it falls into."""

    kind: Literal["graduated"] = "graduated"


class Volume(Tiered):
    """Every unit at the price of the tier that the whole quantity falls into."""

    kind: Literal["volume"] = "volume"


class Allowance(Metered):
    """The first `quantity` units of a whole period are free; None: all are. Prorated like `Flat`."""

    kind: Literal["allowance"] = "allowance"
    quantity: Quantity | None


class Minimum(Value):
    """What is metered comes to `amount` at least, for a whole period. Prorated like `Flat`."""

    kind: Literal["minimum"] = "minimum"
    amount: Price


Component = Annotated[Flat | PerUnit | Graduated | Volume | Allowance | Minimum, Field(discriminator="kind")]


class PriceBook(Value):
    """The prices of one version of a plan. A meter without a price costs nothing."""

    version: str
    currency: Annotated[str, Field(pattern="^[a-z]{3}$")] = "usd"
    components: tuple[Component, ...] = ()

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        kinds: Sequence[object] = [c.kind for c in self.components if isinstance(c, Flat | Minimum)]
        prices: Sequence[object] = [c.target for c in self.components if isinstance(c, PerUnit | Tiered)]
        allowances: Sequence[object] = [c.target for c in self.components if isinstance(c, Allowance)]
        for found in (kinds, prices, allowances):
            for one in found:
                if found.count(one) > 1:
                    raise ValueError(f"two components for {one}")
        for component in self.components:
            if isinstance(component, Metered) and component.token and component.meter != "model_tokens":
                raise ValueError(f"{component.meter} has no kinds of token")
            if isinstance(component, Metered) and component.model and component.meter != "model_tokens":
                raise ValueError(f"{component.meter} is not metered by model; model_tokens is")
        unpriced = set(allowances) - set(prices)
        if unpriced:
            raise ValueError(f"an allowance without a price: {sorted(map(str, unpriced))}")
        return self
