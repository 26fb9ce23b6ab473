"""What the model was used for, read off its answers as they pass by: tokens by model and kind, and their price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from remote_claude.runner import model_prices

MAX_EVENT = 1024 * 1024
"""Bytes of one server-sent event that is read; longer ones pass by unread."""
MAX_BODY = 32 * 1024 * 1024
BYTES_PER_TOKEN = 4
"""For an answer that was cut off before it told its count."""


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Everything so far. `tokens` is model -> kind -> count, `nano_usd` billionths of a dollar."""

    tokens: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    nano_usd: int = 0
    requests: int = 0
    unknown_models: frozenset[str] = frozenset()
    """Priced as the dearest known."""
    estimated: int = 0
    """Answers cut off before they told their output tokens, which were then counted by their length."""


class UsageMeter:
    """Adds up messages."""

    def __init__(self) -> None:
        self._tokens: dict[str, dict[str, int]] = {}
        self._nano_usd = self._requests = self._estimated = 0
        self._unknown: set[str] = set()

    def usage(self) -> ModelUsage:
        """A snapshot."""
        return ModelUsage(
            {model: dict(kinds) for model, kinds in self._tokens.items()},
            self._nano_usd,
            self._requests,
            frozenset(self._unknown),
            self._estimated,
        )

    def add(self, model: str, usage: Mapping[str, Any], *, estimated: bool = False) -> None:
        """One message, by the `usage` of the Messages API."""
        tokens = _tokens(usage)
        prompt = sum(count for kind, count in tokens.items() if kind != "output")
        cost, known = model_prices.price(model, speed=str(usage.get("speed")), prompt_tokens=prompt)
        nano_usd = cost.of(tokens)
        if usage.get("inference_geo") == "us":  # costs a tenth more
            nano_usd += -(-nano_usd // 10)
        searches = _count(_object(usage.get("server_tool_use")).get("web_search_requests"))
        self._nano_usd += nano_usd + searches * model_prices.WEB_SEARCH_NANO_USD
        self._requests += 1
        self._estimated += estimated
        if not known:
            self._unknown.add(model)
        kinds = self._tokens.setdefault(model, dict.fromkeys(model_prices.KINDS, 0))
        for kind, count in tokens.items():
            kinds[kind] += count


class AnswerReader:
    """Reads one answer of `/v1/messages`, streamed or not, in whatever pieces it comes. `settle` at its end."""

    def __init__(self, content_type: str) -> None:
        self._streamed = content_type.startswith("text/event-stream")
        self._pending = bytearray()
        self._skipping = False
        self._model: str | None = None
        self._usage: dict[str, Any] = {}
        self._seen_bytes = 0
        self._told = False
        """The output tokens are the final ones."""

    def feed(self, data: bytes) -> None:
        """The next piece."""
        if not self._streamed:
            if len(self._pending) <= MAX_BODY:
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

    def settle(self, meter: UsageMeter) -> None:
        """Add what was seen, whole or not."""
        if not self._streamed:
            message = _parsed(bytes(self._pending))
            self._start(message)
            self._told = True
        if self._model is None:
            return
        if not self._told:
            seen = -(-self._seen_bytes // BYTES_PER_TOKEN)
            self._usage["output_tokens"] = max(_count(self._usage.get("output_tokens")), seen)
        meter.add(self._model, self._usage, estimated=not self._told)

    def _event(self, data: bytes) -> None:
        event = _parsed(data)
        match event.get("type"):
            case "message_start":
                self._start(_object(event.get("message")))
            case "content_block_delta":
                delta = _object(event.get("delta"))
                said = (delta.get(part) for part in ("text", "thinking", "partial_json"))
                self._seen_bytes += sum(len(part.encode()) for part in said if isinstance(part, str))
            case "message_delta":
                self._usage |= {k: v for k, v in _object(event.get("usage")).items() if v is not None}
                self._told = True

    def _start(self, message: Mapping[str, Any]) -> None:
        model, usage = message.get("model"), message.get("usage")
        if isinstance(model, str) and isinstance(usage, dict):
            self._model, self._usage = model[:128], dict(usage)


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


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parsed(data: bytes) -> dict[str, Any]:
    """The JSON object, or an empty one: an answer that nobody can read costs nothing that could be known."""
    try:
        return _object(orjson.loads(data))
    except orjson.JSONDecodeError:
        return {}
