"""OpenAI's API, Chat Completions and Responses, as OpenAI and compatible services speak it."""

from __future__ import annotations

import re
from typing import Any

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

_MODELS = re.compile(r"/v1/models(/[A-Za-z0-9][A-Za-z0-9._:@/%-]*)?")
CHAT = "/v1/chat/completions"


class OpenAiApi(ModelApi):
    """The address of such a service ends with the `/v1` that paths begin with here."""

    def route(self, method: str, path: str) -> ModelRoute | None:
        if method == "GET" and _MODELS.fullmatch(path) and ".." not in path:
            return ModelRoute()
        if method == "POST" and path == CHAT:
            return ModelRoute(ChatUsage)
        return ModelRoute(ResponsesUsage) if method == "POST" and path == "/v1/responses" else None

    def target(self, path: str) -> str:
        return path.removeprefix("/v1")

    def complete(self, request: dict[str, Any]) -> bool:
        """Asks a stream of Chat Completions to say what it used."""
        if "messages" not in request or request.get("stream") is not True:
            return False
        request["stream_options"] = {**object_of(request.get("stream_options")), "include_usage": True}
        return True


class _OpenAiUsage(AnswerUsage):
    """`INPUT` and `OUTPUT` are the names of their counts, `DETAILS` where the cached tokens are."""

    INPUT, OUTPUT, DETAILS = "input_tokens", "output_tokens", "input_tokens_details"

    def __init__(self, terms: PaymentTerms) -> None:
        super().__init__()
        self._terms = terms
        self._model: str | None = None
        self._tier = ""
        self._usage: dict[str, Any] = {}
        self._output_bytes = 0

    def whole(self, body: dict[str, Any]) -> None:
        self._read(body)

    def uses(self) -> list[ModelUse] | None:
        if self._model is None or not (self.final or self._output_bytes):
            return None
        cached = count_of(object_of(self._usage.get(self.DETAILS)).get("cached_tokens"))
        usage = {
            "input_tokens": max(0, count_of(self._usage.get(self.INPUT)) - cached),
            "cache_read_input_tokens": cached,
            "output_tokens": count_of(self._usage.get(self.OUTPUT)) or tokens_of(self._output_bytes),
            "service_tier": self._tier,
        }
        return [use_of(self._terms, self._model, usage, estimated=not self.final)]

    def _read(self, answer: dict[str, Any]) -> None:
        """The model, and the usage if it is there, of an answer or a part of one."""
        if model := text_of(answer.get("model")):
            self._model = model[:256]
        self._tier = text_of(answer.get("service_tier")) or self._tier
        if (usage := object_of(answer.get("usage"))) and self._model is not None:
            self._usage, self.final = usage, True


class ChatUsage(_OpenAiUsage):
    """Chat Completions: the last part of a stream says what it used, before `[DONE]`."""

    INPUT, OUTPUT, DETAILS = "prompt_tokens", "completion_tokens", "prompt_tokens_details"

    def event(self, event: dict[str, Any]) -> None:
        if event.get("type") == "done":
            self.ended = True
        elif "error" in event:
            self.error = _error(event["error"])
        else:
            self._read(event)
            for choice in list_of(event.get("choices")):
                self._output_bytes += _said(object_of(choice).get("delta"))


class ResponsesUsage(_OpenAiUsage):
    """Responses: its last event has the whole response, with what it used."""

    def event(self, event: dict[str, Any]) -> None:
        kind = text_of(event.get("type"))
        response = object_of(event.get("response"))
        self._read(response)
        if kind == "error":
            self.error = _error(event.get("error") or event)
        elif kind == "response.failed":
            self.error = _error(response.get("error"))
        elif kind in ("response.completed", "response.incomplete"):
            self.ended = True
        elif kind.endswith(".delta"):
            self._output_bytes += len(text_of(event.get("delta")).encode())


def _said(delta: Any) -> int:
    """Bytes of text and of the arguments of tools."""
    part = object_of(delta)
    calls = (object_of(object_of(call).get("function")) for call in list_of(part.get("tool_calls")))
    texts = [part.get("content"), part.get("reasoning_content"), *(call.get("arguments") for call in calls)]
    return sum(len(text_of(text).encode()) for text in texts)


def _error(given: Any) -> dict[str, Any]:
    error = object_of(given)
    kind = text_of(error.get("code")) or text_of(error.get("type"))
    return {"type": kind, "message": text_of(error.get("message")) or text_of(given)}
