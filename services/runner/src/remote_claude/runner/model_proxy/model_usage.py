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

MAX_EVENT = 1024 * 1024
"""Bytes of one server-sent event that is read; longer ones pass by unread."""
MAX_ANSWER = 32 * 1024 * 1024
BYTES_PER_TOKEN = 4
"""Where the model does not say a count."""
TOKENS_PER_IMAGE = 1600
MAX_OUTPUT = 128_000
"""Tokens that a call is taken to allow when it names no limit."""

_BASE64 = re.compile(rb'"data"\s*:\s*"[A-Za-z0-9+/=]{512,}"')


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
        model, tokens = _text(request.get("model")), -(-size // BYTES_PER_TOKEN) + images * TOKENS_PER_IMAGE
        hints = {"speed": request.get("speed"), "inference_geo": request.get("inference_geo")}
        sent = _use(self.terms, model, {**hints, "input_tokens": tokens}, estimated=True)
        allowed = _count(request.get("max_tokens")) or MAX_OUTPUT
        upper = _use(
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


class AnswerReader:
    """Reads one answer of `/v1/messages`, streamed or not, in whatever pieces it comes."""

    def __init__(self, content_type: str, terms: PaymentTerms) -> None:
        self.streamed = content_type.startswith("text/event-stream")
        self.final = False
        """The usage that has been read is the final one."""
        self.error: dict[str, Any] | None = None
        """What a stream said instead of its end."""
        self._terms = terms
        self._pending = bytearray()
        self._skipping = False
        self._model: str | None = None
        self._usage: dict[str, Any] = {}
        self._output_bytes = self._input_bytes = self._searches = 0

    def feed(self, data: bytes) -> None:
        """The next piece."""
        if not self.streamed:
            if len(self._pending) <= MAX_ANSWER:
                self._pending += data
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._pending += line
            if not self._skipping and self._pending.startswith(b"data:"):
                self._event(bytes(self._pending[5:]))
            self._pending.clear()
            self._skipping = False
        self._pending += rest
        if len(self._pending) > MAX_EVENT:
            self._pending.clear()
            self._skipping = True

    def body(self) -> dict[str, Any]:
        """The object that an answer is which is not streamed."""
        return _parsed(bytes(self._pending))

    def uses(self) -> list[ModelUse] | None:
        """What the answer used, as far as it has been read; None when it has not said anything of it."""
        if not self.streamed and not self.final:
            self._start(self.body())
            self.final = self._model is not None
        if self._model is None:
            return None
        usage = dict(self._usage)
        if not self.final:
            usage["output_tokens"] = max(_count(usage.get("output_tokens")), _tokens_of(self._output_bytes))
            usage["input_tokens"] = _count(usage.get("input_tokens")) + _tokens_of(self._input_bytes)
            usage["server_tool_use"] = {"web_search_requests": self._searches}
        return uses_of(self._terms, self._model, usage, estimated=not self.final)

    def _event(self, data: bytes) -> None:
        event = _parsed(data)
        match event.get("type"):
            case "message_start":
                self._start(_object(event.get("message")))
            case "content_block_start":
                self._block(_object(event.get("content_block")))
            case "content_block_delta":
                delta = _object(event.get("delta"))
                parts = (delta.get(part) for part in ("text", "thinking", "partial_json"))
                self._output_bytes += sum(len(part.encode()) for part in parts if isinstance(part, str))
            case "error":
                self.error = _object(event.get("error"))
            case "message_delta":
                self._usage |= {k: v for k, v in _object(event.get("usage")).items() if v is not None}
                self.final = True

    def _block(self, block: Mapping[str, Any]) -> None:
        """A server tool that is used adds its fee, and its result to what the model reads."""
        kind = _text(block.get("type"))
        if kind == "server_tool_use" and block.get("name") == "web_search":
            self._searches += 1
        elif kind.endswith("_tool_result"):
            self._input_bytes += len(orjson.dumps(block.get("content")))

    def _start(self, message: Mapping[str, Any]) -> None:
        model, usage = message.get("model"), message.get("usage")
        if isinstance(model, str) and isinstance(usage, dict):
            self._model, self._usage = model[:128], dict(usage)


def uses_of(
    terms: PaymentTerms, model: str, usage: Mapping[str, Any], *, estimated: bool = False
) -> list[ModelUse]:
    """The uses of one message, by the `usage` of the Messages API.

    Its sums leave out the iterations that were no part of the message itself: a compaction of the conversation, or
    another model that was asked for advice.
    """
    iterations = [_object(one) for one in _list(usage.get("iterations"))]
    own = [one for one in iterations if one.get("type") == "message"]
    whole = dict(usage)
    for name in ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
        whole[name] = max(_count(usage.get(name)), sum(_count(one.get(name)) for one in own))
    uses = [_use(terms, model, whole, estimated=estimated)]
    for one in iterations:
        if one.get("type") != "message":
            shared = {k: usage.get(k) for k in ("speed", "inference_geo", "service_tier")}
            another = _text(one.get("model")) or model
            uses.append(_use(terms, another, shared | one).model_copy(update={"calls": 0}))
    return uses


def _use(terms: PaymentTerms, model: str, usage: Mapping[str, Any], *, estimated: bool = False) -> ModelUse:
    tokens = _tokens(usage)
    name = canonical(model)[:128]
    speed = "fast" if usage.get("speed") == "fast" else "standard"
    prompt = sum(count for kind, count in tokens.items() if kind != "output")
    tier = usage.get("service_tier")
    quantities = {kind: count for kind, count in tokens.items() if count}
    if searches := _count(_object(usage.get("server_tool_use")).get("web_search_requests")):
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
    written = _count(usage.get("cache_creation_input_tokens"))
    for_an_hour = min(written, _count(_object(usage.get("cache_creation")).get("ephemeral_1h_input_tokens")))
    return {
        "input": _count(usage.get("input_tokens")),
        "output": _count(usage.get("output_tokens")),
        "cache_write_5m": written - for_an_hour,
        "cache_write_1h": for_an_hour,
        "cache_read": _count(usage.get("cache_read_input_tokens")),
    }


def _tokens_of(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parsed(data: bytes) -> dict[str, Any]:
    """The JSON object, or an empty one."""
    try:
        return _object(orjson.loads(data))
    except orjson.JSONDecodeError:
        return {}
