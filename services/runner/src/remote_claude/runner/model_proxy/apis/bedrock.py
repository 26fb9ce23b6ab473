"""Amazon Bedrock's runtime: InvokeModel, which carries the model's own API, and Converse, which is the same for all models."""

from __future__ import annotations

import re
from functools import partial
from typing import Any
from urllib.parse import unquote

from remote_claude.contracts.runner import ModelUse
from remote_claude.runner.model_proxy.answers import NamedModelUsage
from remote_claude.runner.model_proxy.apis.anthropic import MessagesUsage
from remote_claude.runner.model_proxy.apis.base import ModelApi, ModelRoute
from remote_claude.runner.model_proxy.model_usage import (
    count_of,
    object_of,
    text_of,
    tokens_of,
    use_of,
)

_MODEL = re.compile(
    r"/model/([A-Za-z0-9][A-Za-z0-9._:%-]{0,2047})/"
    r"(invoke|invoke-with-response-stream|converse|converse-stream|count-tokens)"
)


class BedrockApi(ModelApi):
    """InvokeModel is for models of Anthropic, whose answers say what they used; Converse says it for all models."""

    def route(self, method: str, path: str) -> ModelRoute | None:
        found = _MODEL.fullmatch(path)
        if method != "POST" or found is None:
            return None
        model, call = unquote(found[1]), found[2]
        if call == "count-tokens":
            return ModelRoute(model=model)
        if call.startswith("converse"):
            return ModelRoute(partial(ConverseUsage, model=model), model)
        if "anthropic" not in model and not model.startswith("arn:"):
            return None
        return ModelRoute(partial(MessagesUsage, model=model), model)


class ConverseUsage(NamedModelUsage):
    """The last event of a stream, `metadata`, says what it used."""

    def event(self, event: dict[str, Any]) -> None:
        if "error" in event:
            self.error = object_of(event["error"])
        elif delta := object_of(object_of(event.get("contentBlockDelta")).get("delta")):
            reasoning, tool = object_of(delta.get("reasoningContent")), object_of(delta.get("toolUse"))
            texts = (delta.get("text"), reasoning.get("text"), tool.get("input"))
            self._output_bytes += sum(len(text_of(text).encode()) for text in texts)
        else:
            self.whole(object_of(event.get("metadata")))

    def whole(self, body: dict[str, Any]) -> None:
        if usage := object_of(body.get("usage")):
            self._usage, self.final = usage, True

    def uses(self) -> list[ModelUse] | None:
        if not (self.final or self._output_bytes):
            return None
        tier = object_of(self._usage.get("serviceTier")).get("type")
        usage = {
            "input_tokens": self._usage.get("inputTokens"),
            "output_tokens": count_of(self._usage.get("outputTokens")) or tokens_of(self._output_bytes),
            "cache_read_input_tokens": self._usage.get("cacheReadInputTokens"),
            "cache_creation_input_tokens": self._usage.get("cacheWriteInputTokens"),
            "service_tier": tier,
        }
        return [use_of(self._terms, self._model, usage, estimated=not self.final)]
