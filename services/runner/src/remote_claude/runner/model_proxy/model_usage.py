"""What the model was used for, by rate class: calls that have begun, and what their answers say as they pass by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from remote_claude.contracts.model_prices import WEB_SEARCH, ModelPrices, list_prices
from remote_claude.contracts.runner import Cumulative, ModelUse, OpenModelCall
from remote_claude.runner.model_proxy.published_prices import canonical

BYTES_PER_TOKEN = 4
"""Where the model does not say a count."""
TOKENS_PER_IMAGE = 1600
MAX_OUTPUT = 128_000
"""Tokens that a call is taken to allow when it names no limit."""

_BASE64 = re.compile(
    rb'"(?:data|bytes)"\s*:\s*"[A-Za-z0-9+/=]{512,}"|data:[a-z]+/[a-z.+-]+;base64,[A-Za-z0-9+/=]{512,}'
)


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Everything so far: what has ended, in the model's fields of `cumulative`, and the calls that have not."""

    cumulative: Cumulative = Cumulative()  # noqa: RUF009  frozen
    open_calls: tuple[OpenModelCall, ...] = ()


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """Who answers, who pays, and at which prices: what a call does not say."""

    provider: str = "anthropic"
    paid_by: Literal["operator", "customer"] = "operator"
    prices: ModelPrices = field(default_factory=list_prices)


class ModelCall:
    """A call in flight. Two calls are never equal."""

    def __init__(self, sent: ModelUse, nano_usd: int, upper_nano_usd: int) -> None:
        self.made = False
        """Its last byte was sent."""
        self.open = OpenModelCall(sent=sent, nano_usd=nano_usd, upper_nano_usd=upper_nano_usd)


class UsageMeter:
    """Adds up calls."""

    def __init__(self, terms: PaymentTerms) -> None:
        self.terms = terms
        self._ended = Cumulative()
        self._open: dict[ModelCall, None] = {}

    def usage(self) -> ModelUsage:
        """A snapshot."""
        paid: dict[str, int] = {"operator": 0, "customer": 0}
        for use in self._ended.model_use:
            paid[use.paid_by] += self.terms.prices.nano_usd(use)
        cumulative = self._ended.model_copy(
            update={
                "model_nano_usd": paid["operator"],
                "customer_model_nano_usd": paid["customer"],
                "price_table": self.terms.prices.version if self._open or self._ended.model_use else None,
            }
        )
        return ModelUsage(cumulative, tuple(call.open for call in self._open))

    def begin(self, size: int, request: Mapping[str, Any], images: int = 0) -> ModelCall:
        """A call of `size` bytes of text and so many images is about to be sent."""
        model, tokens = text_of(request.get("model")), -(-size // BYTES_PER_TOKEN) + images * TOKENS_PER_IMAGE
        hints = {"speed": request.get("speed"), "inference_geo": request.get("inference_geo")}
        sent = use_of(self.terms, model, {**hints, "input_tokens": tokens}, estimated=True)
        allowed = _max_output(request) or MAX_OUTPUT
        upper = use_of(
            self.terms, model, {**hints, "cache_creation_input_tokens": tokens, "output_tokens": allowed}
        )
        cost = self.terms.prices.nano_usd(sent)
        call = ModelCall(sent, cost, max(cost, self.terms.prices.nano_usd(upper)))
        self._open[call] = None
        return call

    def end(self, call: ModelCall, uses: Sequence[ModelUse] | None = None) -> None:
        """The call has ended with these uses; None: without a word of what it used, so that what was sent counts."""
        del self._open[call]
        self._ended += Cumulative(model_use=tuple([call.open.sent] if uses is None else uses))

    def refused(self, call: ModelCall) -> None:
        """The model did not take the call: it costs nothing."""
        del self._open[call]


def request_size(body: bytes) -> tuple[int, int]:
    """Bytes of a request without its images, and how many those are."""
    images = [len(found.group()) for found in _BASE64.finditer(body)]
    return len(body) - sum(images), len(images)


def use_of(terms: PaymentTerms, model: str, usage: Mapping[str, Any], *, estimated: bool = False) -> ModelUse:
    """One use, by a `usage` in the words of the Messages API."""
    tokens = _tokens(usage)
    name = canonical(model)[:128]
    speed = "fast" if usage.get("speed") == "fast" else "standard"
    prompt = sum(count for kind, count in tokens.items() if kind != "output")
    tier = usage.get("service_tier")
    quantities = {kind: count for kind, count in tokens.items() if count}
    if searches := count_of(object_of(usage.get("server_tool_use")).get("web_search_requests")):
        quantities[WEB_SEARCH] = searches
    return ModelUse(
        provider=terms.provider,
        model=name,
        region="us" if usage.get("inference_geo") == "us" else "global",
        speed=speed,
        tier=tier if tier in ("priority", "batch") else "standard",
        prompt=terms.prices.prompt_class(name, prompt),
        paid_by=terms.paid_by,
        unknown=not terms.prices.is_known(name, speed),
        calls=1,
        estimated=int(estimated),
        quantities=quantities,
    )


def _tokens(usage: Mapping[str, Any]) -> dict[str, int]:
    written = count_of(usage.get("cache_creation_input_tokens"))
    for_an_hour = min(
        written, count_of(object_of(usage.get("cache_creation")).get("ephemeral_1h_input_tokens"))
    )
    return {
        "input": count_of(usage.get("input_tokens")),
        "output": count_of(usage.get("output_tokens")),
        "cache_write_5m": written - for_an_hour,
        "cache_write_1h": for_an_hour,
        "cache_read": count_of(usage.get("cache_read_input_tokens")),
    }


def _max_output(request: Mapping[str, Any]) -> int:
    """What a request allows, in the words of each API; 0 if it does not say."""
    limits = [request.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    limits.append(object_of(request.get("inferenceConfig")).get("maxTokens"))
    limits.append(object_of(request.get("generationConfig")).get("maxOutputTokens"))
    return max(map(count_of, limits))


def tokens_of(size: int) -> int:
    """Tokens of so many bytes, where the model does not say a count."""
    return -(-size // BYTES_PER_TOKEN)


def count_of(value: object) -> int:
    """The number, or 0."""
    return value if isinstance(value, int) and value > 0 else 0


def text_of(value: object) -> str:
    """The text, or an empty one."""
    return value if isinstance(value, str) else ""


def list_of(value: object) -> list[Any]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def object_of(value: object) -> dict[str, Any]:
    """The JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object, or an empty one."""
    try:
        return object_of(orjson.loads(data))
    except orjson.JSONDecodeError:
        return {}
