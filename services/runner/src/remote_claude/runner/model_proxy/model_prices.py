"""What Claude models cost, in nano-dollars a token: the list prices per million tokens, times a thousand.

Source: the price table that Claude Code 2.1.330 ships, of November 2026. Prices are data: a new model is a line here,
and `VERSION` is raised whenever a line changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from remote_claude.contracts.runner import ModelUse

VERSION = "2026-11"
WEB_SEARCH = "web_search"
WEB_SEARCH_NANO_USD = 10_000_000
"""One search that the model made on the provider's side."""


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """Nano-dollars a token, by kind."""

    input: int
    output: int
    cache_write_5m: int
    cache_write_1h: int
    cache_read: int

    def of(self, tokens: Mapping[str, int]) -> int:
        """Nano-dollars of so many tokens of each kind."""
        return sum(getattr(self, kind) * count for kind, count in tokens.items())


KINDS = tuple(field.name for field in fields(ModelPrice))

_2_10 = ModelPrice(2_000, 10_000, 2_500, 4_000, 200)
_2_10_READ_10 = ModelPrice(2_000, 10_000, 2_500, 4_000, 100)
_3_15 = ModelPrice(3_000, 15_000, 3_750, 6_000, 300)
_4_20 = ModelPrice(4_000, 20_000, 5_000, 8_000, 200)
_5_25 = ModelPrice(5_000, 25_000, 6_250, 10_000, 500)
_8_40 = ModelPrice(8_000, 40_000, 10_000, 16_000, 200)
_8_40_FAST = ModelPrice(8_000, 40_000, 10_000, 16_000, 400)
_10_50 = ModelPrice(10_000, 50_000, 12_500, 20_000, 1_000)
_10_50_READ_25 = ModelPrice(10_000, 50_000, 12_500, 20_000, 250)
_15_75 = ModelPrice(15_000, 75_000, 18_750, 30_000, 1_500)
_16_80_FAST = ModelPrice(16_000, 80_000, 20_000, 32_000, 400)
_30_150_FAST = ModelPrice(30_000, 150_000, 37_500, 60_000, 3_000)

STANDARD: Mapping[str, ModelPrice] = {
    "claude-3-5-haiku": ModelPrice(800, 4_000, 1_000, 1_600, 80),
    "claude-haiku-4-5": ModelPrice(1_000, 5_000, 1_250, 2_000, 100),
    "claude-haiku-5-5": ModelPrice(100, 500, 125, 200, 10),
    "claude-3-5-sonnet": _3_15,
    "claude-3-7-sonnet": _3_15,
    "claude-sonnet-4": _3_15,
    "claude-sonnet-4-5": _3_15,
    "claude-sonnet-4-6": _3_15,
    "claude-sonnet-5": _2_10,
    "claude-sonnet-5-5": _2_10_READ_10,
    "claude-opus-4": _15_75,
    "claude-opus-4-1": _15_75,
    "claude-opus-4-5": _5_25,
    "claude-opus-4-6": _5_25,
    "claude-opus-4-7": _5_25,
    "claude-opus-4-8": _5_25,
    "claude-opus-5": _5_25,
    "claude-opus-5-5": _4_20,
    "claude-fable-5": _10_50,
    "claude-fable-5-1": _10_50_READ_25,
    "claude-fable-5-2": _8_40,
    "claude-mythos-5": _10_50,
    "claude-mythos-5-1": _10_50_READ_25,
    "claude-mythos-5-2": _8_40,
}
FAST: Mapping[str, ModelPrice] = {
    "claude-opus-4-6": _30_150_FAST,
    "claude-opus-4-7": _30_150_FAST,
    "claude-opus-4-8": _10_50,
    "claude-opus-5": _10_50,
    "claude-opus-5-5": _8_40_FAST,
    "claude-fable-5-2": _16_80_FAST,
    "claude-mythos-5-2": _16_80_FAST,
}
LONG_PROMPT: Mapping[str, tuple[int, ModelPrice]] = {
    "claude-haiku-5-5": (100_000, ModelPrice(500, 2_500, 625, 1_000, 50)),
}
"""Above so many prompt tokens, cached ones included, the whole message costs this."""

_PREFIX = re.compile(
    r"(arn:aws[a-z-]*:bedrock:[^/]*/)?(publishers/anthropic/models/)?([a-z]{2,8}\.)?(anthropic[./])?(?=claude)"
)
_SUFFIX = re.compile(r"(-v\d+(:\d+)?)?(-0)?([-@]\d{8}(-v\d+(:\d+)?)?|-latest|@latest|@default)?(\[1m\])?$")


def canonical(model: str) -> str:
    """The name as the table has it: without date, context size, and what Bedrock and Vertex put around it."""
    return _SUFFIX.sub("", _PREFIX.sub("", model))


def is_known(model: str, speed: str) -> bool:
    """Whether the table has a price for it. An unknown one costs as much as the dearest known."""
    return model in (FAST if speed == "fast" else STANDARD)


def prompt_class(model: str, prompt_tokens: int) -> str:
    """`long` where a message with so many prompt tokens, cached ones included, has a price of its own."""
    above, _ = LONG_PROMPT.get(model, (prompt_tokens, None))
    return "long" if prompt_tokens > above else "standard"


def price(model: str, *, speed: str = "standard", prompt: str = "standard") -> ModelPrice:
    """The price of the tokens of a model, by its name in the table."""
    table = FAST if speed == "fast" else STANDARD
    if model not in table:
        return max(table.values(), key=lambda one: one.output)
    return LONG_PROMPT[model][1] if prompt == "long" else table[model]


def nano_usd(use: ModelUse) -> int:
    """What a use comes to, in nano-dollars, rounded up once."""
    cost = price(use.model, speed=use.speed, prompt=use.prompt).of(
        {kind: use.quantities.get(kind, 0) for kind in KINDS}
    )
    if use.region == "us":  # costs a tenth more
        cost = -(-cost * 11 // 10)
    return cost + use.quantities.get(WEB_SEARCH, 0) * WEB_SEARCH_NANO_USD
