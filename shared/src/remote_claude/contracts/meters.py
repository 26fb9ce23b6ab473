"""The meters, declared in `meters.toml`: unit, name, and what each counts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict


class MeterDefinition(BaseModel):
    """`unit` is the smallest unit. `priced`: a price book may have a price for it. `charged`: it has a line even without one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    name: str
    counts: str
    charged: bool = True
    priced: bool = True
    by: tuple[Literal["model", "token"], ...] = ()


class Meters(BaseModel):
    """All meters, in the order of an invoice's lines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    meters: Mapping[str, MeterDefinition]


@lru_cache(maxsize=1)
def declared() -> Meters:
    """The meters of this release."""
    text = files(__package__).joinpath("meters.toml").read_text(encoding="utf-8")
    return Meters.model_validate(tomllib.loads(text))
