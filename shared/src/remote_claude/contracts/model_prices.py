"""What models cost: a versioned table. `model_prices.toml` has the list prices; an operator's file overrides models."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from remote_claude.contracts.base import Quantity, Value
from remote_claude.contracts.runner import ModelUse

WEB_SEARCH = "web_search"


class InvalidModelPrices(Exception):
    """The file is no table of model prices; nothing was published."""

    code = "invalid_model_prices"


class TokenPrices(Value):
    """Nano-dollars a token, by kind."""

    input: Quantity
    output: Quantity
    cache_write_5m: Quantity
    cache_write_1h: Quantity
    cache_read: Quantity

    def of(self, tokens: Mapping[str, int]) -> int:
        """Nano-dollars of so many tokens of each kind."""
        return sum(getattr(self, kind) * count for kind, count in tokens.items())


class LongPrompt(Value):
    """A message with more than `above` prompt tokens, cached ones included, costs `prices` as a whole."""

    above: Quantity
    prices: TokenPrices


class ModelPrice(Value):
    """The prices of one model. `fast`: its fast mode."""

    standard: TokenPrices
    fast: TokenPrices | None = None
    long: LongPrompt | None = None


class ModelPrices(Value):
    """`models` is by the name without date and context size. `web_search`: nano-dollars for one search."""

    version: Annotated[str, Field(min_length=1, max_length=64)]
    web_search: Quantity
    models: dict[str, ModelPrice]

    def is_known(self, model: str, speed: str) -> bool:
        """Whether there is a price for it. A model without one costs as much as the dearest that has one."""
        return self._find(model, speed) is not None

    def prompt_class(self, model: str, prompt_tokens: int) -> str:
        """`long` where a message with so many prompt tokens, cached ones included, has a price of its own."""
        known = self.models.get(model)
        bound = known.long.above if known is not None and known.long is not None else prompt_tokens
        return "long" if prompt_tokens > bound else "standard"

    def price(self, model: str, *, speed: str = "standard", prompt: str = "standard") -> TokenPrices:
        """The price of a model's tokens, by its name in the table."""
        found = self._find(model, speed)
        if found is None:
            prices = (self._find(known, speed) for known in self.models)
            return max((one for one in prices if one is not None), key=lambda one: one.output)
        long = self.models[model].long
        return long.prices if prompt == "long" and long is not None else found

    def nano_usd(self, use: ModelUse) -> int:
        """What a use comes to, in nano-dollars, rounded up once."""
        tokens = {kind: use.quantities.get(kind, 0) for kind in TokenPrices.model_fields}
        cost = self.price(use.model, speed=use.speed, prompt=use.prompt).of(tokens)
        if use.region == "us":  # costs a tenth more
            cost = -(-cost * 11 // 10)
        return cost + use.quantities.get(WEB_SEARCH, 0) * self.web_search

    def _find(self, model: str, speed: str) -> TokenPrices | None:
        known = self.models.get(model)
        if known is None:
            return None
        return known.fast if speed == "fast" else known.standard


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _TokenPrices(TokenPrices, _Strict):
    pass


class _LongPrompt(LongPrompt, _Strict):
    prices: _TokenPrices


class _ModelPrice(ModelPrice, _Strict):
    standard: _TokenPrices
    fast: _TokenPrices | None = None
    long: _LongPrompt | None = None


class _File(_Strict):
    version: Annotated[str, Field(min_length=1, max_length=64)]
    web_search: Quantity | None = None
    models: dict[str, _ModelPrice] = Field(default_factory=dict)


@lru_cache(maxsize=1)
def list_prices() -> ModelPrices:
    """The prices of a stack where none were published."""
    given = tomllib.loads(files(__package__).joinpath("model_prices.toml").read_text(encoding="utf-8"))
    return ModelPrices.model_validate(given)


def parse(text: str) -> ModelPrices:
    """The table in an operator's TOML file; what it leaves out has its list price.

    Raises `InvalidModelPrices` with the place and the reason.
    """
    listed = list_prices()
    try:
        given = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidModelPrices(f"this is no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidModelPrices(f"{where}: {first['msg']}") from error
    for name in given.models:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
            raise InvalidModelPrices(f"models.{name}: a model's name has small letters, digits, dots and -")
    table = ModelPrices(
        version=given.version,
        web_search=listed.web_search if given.web_search is None else given.web_search,
        models=listed.models
        | {n: ModelPrice.model_validate(m.model_dump(mode="json")) for n, m in given.models.items()},
    )
    if table.version == listed.version and table != listed:
        raise InvalidModelPrices(f"version: {listed.version!r} are the list prices; name yours differently")
    return table
