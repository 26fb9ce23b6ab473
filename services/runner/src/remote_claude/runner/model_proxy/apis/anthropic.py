"""Anthropic's Messages API, which Bedrock and Vertex carry as well."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from remote_claude.contracts.runner import ModelUse
from remote_claude.runner.model_proxy.answers import AnswerUsage
from remote_claude.runner.model_proxy.apis.base import ModelApi, ModelRoute
from remote_claude.runner.model_proxy.model_usage import (
    PaymentTerms,
    count_of,
    list_of,
    object_of,
    text_of,
    tokens_of,
    use_of,
)

_MODELS = re.compile(r"/v1/models(/[A-Za-z0-9][A-Za-z0-9._:@-]*)?")


class AnthropicApi(ModelApi):
    """The two calls that an agent needs, and the list of models."""

    def route(self, method: str, path: str) -> ModelRoute | None:
        if method == "GET" and _MODELS.fullmatch(path):
            return ModelRoute()
        if method == "POST" and path == "/v1/messages":
            return ModelRoute(MessagesUsage)
        return ModelRoute() if method == "POST" and path == "/v1/messages/count_tokens" else None


class MessagesUsage(AnswerUsage):
    """One message. `model` is the one that was asked, where the answer does not name it as the price table does."""

    def __init__(self, terms: PaymentTerms, model: str | None = None) -> None:
        super().__init__()
        self._terms, self._asked = terms, model
        self._model: str | None = None
        self._usage: dict[str, Any] = {}
        self._output_bytes = self._input_bytes = self._searches = 0

    def whole(self, body: dict[str, Any]) -> None:
        self._start(body)
        self.final = self._model is not None

    def uses(self) -> list[ModelUse] | None:
        if self._model is None:
            return None
        usage = dict(self._usage)
        if not self.final:
            usage["output_tokens"] = max(count_of(usage.get("output_tokens")), tokens_of(self._output_bytes))
            usage["input_tokens"] = count_of(usage.get("input_tokens")) + tokens_of(self._input_bytes)
            usage["server_tool_use"] = {"web_search_requests": self._searches}
        return uses_of(self._terms, self._model, usage, estimated=not self.final)

    def event(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "message_start":
                self._start(object_of(event.get("message")))
            case "content_block_start":
                self._block(object_of(event.get("content_block")))
            case "content_block_delta":
                delta = object_of(event.get("delta"))
                parts = (delta.get(part) for part in ("text", "thinking", "partial_json"))
                self._output_bytes += sum(len(part.encode()) for part in parts if isinstance(part, str))
            case "message_delta":
                self._usage |= {k: v for k, v in object_of(event.get("usage")).items() if v is not None}
                self.final = True
            case _ if "error" in event:
                self.error = object_of(event["error"])

    def _block(self, block: Mapping[str, Any]) -> None:
        """A server tool that is used adds its fee, and its result to what the model reads."""
        kind = text_of(block.get("type"))
        if kind == "server_tool_use" and block.get("name") == "web_search":
            self._searches += 1
        elif kind.endswith("_tool_result"):
            self._input_bytes += len(orjson.dumps(block.get("content")))

    def _start(self, message: Mapping[str, Any]) -> None:
        model, usage = message.get("model"), message.get("usage")
        if isinstance(model, str) and isinstance(usage, dict):
            self._model, self._usage = (self._asked or model)[:256], dict(usage)


def uses_of(
    terms: PaymentTerms, model: str, usage: Mapping[str, Any], *, estimated: bool = False
) -> list[ModelUse]:
    """The uses of one message, by the `usage` of the Messages API.

    Its sums leave out the iterations that were no part of the message itself: a compaction of the conversation, or
    another model that was asked for advice.
    """
    iterations = [object_of(one) for one in list_of(usage.get("iterations"))]
    own = [one for one in iterations if one.get("type") == "message"]
    whole = dict(usage)
    for name in ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
        whole[name] = max(count_of(usage.get(name)), sum(count_of(one.get(name)) for one in own))
    uses = [use_of(terms, model, whole, estimated=estimated)]
    for one in iterations:
        if one.get("type") != "message":
            shared = {k: usage.get(k) for k in ("speed", "inference_geo", "service_tier")}
            another = text_of(one.get("model")) or model
            uses.append(use_of(terms, another, shared | one).model_copy(update={"calls": 0}))
    return uses
