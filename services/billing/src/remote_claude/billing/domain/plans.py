"""The plans that can be chosen: read from a versioned file (`plans.toml` is the one of a new stack), then published."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from remote_claude.contracts.billing import Plan, PlansPublished, Seller

Model = TypeVar("Model", bound=BaseModel)


class InvalidPlans(Exception):
    """The file is not a list of plans; nothing was published."""

    code = "invalid_plans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What can be chosen, by name, and who sells it."""

    version: str
    plans: Mapping[str, Plan]
    seller: Seller

    @classmethod
    def of(cls, event: PlansPublished) -> Catalog:
        """The catalog that an event published."""
        return cls(version=event.catalog, plans={p.plan: p for p in event.plans}, seller=event.seller)

    def published(self, actor: str | None) -> PlansPublished:
        """The event that publishes it."""
        return PlansPublished(
            catalog=self.version, plans=tuple(self.plans.values()), seller=self.seller, actor=actor
        )

    def upgrade_of(self, plan: Plan) -> Plan | None:
        """The plan to suggest to those for whom this one is too small."""
        return self.plans.get(plan.upgrade_to) if plan.upgrade_to else None


def parse(text: str) -> Catalog:
    """The catalog in a TOML file. Raises `InvalidPlans` with the place and the reason."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidPlans(f"this is no TOML: {error}") from error
    if unknown := given.keys() - {"catalog", "seller", "plans"}:
        raise InvalidPlans(f"unknown: {', '.join(sorted(unknown))}; a file has catalog, seller and plans")
    if not isinstance(given.get("catalog"), str):
        raise InvalidPlans('catalog: a version in quotes is needed, as catalog = "2026-11"')
    if not isinstance(given.get("plans"), dict) or not given["plans"]:
        raise InvalidPlans("plans: at least one is needed, as [plans.free]")
    seller = _checked(Seller, given.get("seller", {}), "seller")
    plans = {name: _plan(name, plan) for name, plan in given["plans"].items()}
    for name, plan in plans.items():
        if plan.upgrade_to is not None and plan.upgrade_to not in plans:
            raise InvalidPlans(f"plans.{name}.upgrade_to: there is no plan {plan.upgrade_to!r}")
    return Catalog(version=given["catalog"], plans=plans, seller=seller)


@lru_cache(maxsize=1)
def builtin() -> Catalog:
    """The plans of a stack where none were published."""
    return parse(files(__package__).joinpath("plans.toml").read_text(encoding="utf-8"))


def _plan(name: str, given: Any) -> Plan:
    place = f"plans.{name}"
    if not isinstance(given, dict):
        raise InvalidPlans(f"{place}: a table is needed")
    given = dict(given)
    allows = {"executions_per_month": None} | given.pop("allows", {})
    prices = given.pop("prices", [])
    for component in prices if isinstance(prices, list) else []:
        # TOML has no null: what is left out has no bound
        if isinstance(component, dict) and component.get("kind") == "allowance":
            component.setdefault("quantity", None)
        for tier in component.get("tiers", []) if isinstance(component, dict) else []:
            tier.setdefault("up_to", None)
    book = {"version": given.get("version"), "currency": given.pop("currency", "usd"), "components": prices}
    return _checked(Plan, {"plan": name, "entitlements": allows, "price_book": book, **given}, place)


def _checked(model: type[Model], given: Any, place: str) -> Model:
    try:
        value = model.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([place, *(str(part) for part in first["loc"])])
        raise InvalidPlans(f"{where}: {first['msg']}") from error
    if unknown := _unknown(given, value.model_dump(mode="json")):
        raise InvalidPlans(f"{place}.{unknown}: there is no such setting")
    return value


def _unknown(given: Any, known: Any) -> str | None:
    """The path of the first key that the model has dropped."""
    match given, known:
        case dict(), dict():
            pairs = [(key, value, known.get(key)) for key, value in given.items()]
            if extra := sorted(given.keys() - known.keys()):
                return str(extra[0])
        case list(), list():
            pairs = [(n, value, known[n]) for n, value in enumerate(given)]
        case _:
            return None
    for key, value, inner in pairs:
        if found := _unknown(value, inner):
            return f"{key}.{found}"
    return None
