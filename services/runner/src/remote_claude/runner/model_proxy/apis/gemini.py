"""Google's Gemini API: generateContent, streamed and not."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from remote_claude.contracts.runner import ModelUse
from remote_claude.runner.model_proxy.answers import NamedModelUsage
from remote_claude.runner.model_proxy.apis.base import ModelApi, ModelRoute
from remote_claude.runner.model_proxy.model_usage import (
    count_of,
    list_of,
    object_of,
    text_of,
    tokens_of,
    use_of,
)

_MODELS = re.compile(r"/v1(beta)?/models(/[a-z0-9][a-z0-9.-]*)?")
_CALL = re.compile(
    r"/v1(?:beta)?/models/([a-z0-9][a-z0-9.-]*):(generateContent|streamGenerateContent|countTokens)"
)


class GeminiApi(ModelApi):
    """A stream is one of server-sent events: `?alt=sse`."""

    def route(self, method: str, path: str) -> ModelRoute | None:
        if method == "GET" and _MODELS.fullmatch(path):
            return ModelRoute()
        found = _CALL.fullmatch(path)
        if method != "POST" or found is None:
            return None
        return ModelRoute(
            partial(GeminiUsage, model=found[1]) if found[2] != "countTokens" else None, found[1]
        )


class GeminiUsage(NamedModelUsage):
    """Each part of a stream says what was used so far; the last one has the reason of its end."""

    def event(self, event: dict[str, Any]) -> None:
        if "error" in event:
            error = object_of(event["error"])
            self.error = {
                "type": text_of(error.get("status")),
                "message": text_of(error.get("message")),
            }
            return
        self._usage = object_of(event.get("usageMetadata")) or self._usage
        for candidate in map(object_of, list_of(event.get("candidates"))):
            parts = list_of(object_of(candidate.get("content")).get("parts"))
            self._output_bytes += sum(len(text_of(object_of(part).get("text")).encode()) for part in parts)
            self.ended = self.ended or bool(candidate.get("finishReason"))
        self.final = self.ended and bool(self._usage)

    def whole(self, body: dict[str, Any]) -> None:
        self._usage = object_of(body.get("usageMetadata"))
        self.final = bool(self._usage)

    def uses(self) -> list[ModelUse] | None:
        if not (self._usage or self._output_bytes):
            return None
        cached = count_of(self._usage.get("cachedContentTokenCount"))
        said = count_of(self._usage.get("candidatesTokenCount")) + count_of(
            self._usage.get("thoughtsTokenCount")
        )
        prompt = count_of(self._usage.get("promptTokenCount")) + count_of(
            self._usage.get("toolUsePromptTokenCount")
        )
        usage = {
            "input_tokens": max(0, prompt - cached),
            "cache_read_input_tokens": cached,
            "output_tokens": said if self.final else max(said, tokens_of(self._output_bytes)),
        }
        return [use_of(self._terms, self._model, usage, estimated=not self.final)]
