"""What a sandbox may ask of the model. The rest of the model's service reaches other hosts, or other people's files.

A rule is `KIND:PATTERN`, with `*` as in file names. The kinds are `field` (of the request), `tool` (the `type` of one
that the service runs or knows), `source` (where an image or a document comes from) and `beta` (a feature's header).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from remote_claude.runner.model_proxy.published_prices import canonical

DEFAULT = tuple(
    f"{kind}:{pattern}"
    for kind, patterns in {
        "field": """
            model messages system max_tokens metadata stop_sequences stream temperature top_k top_p tools tool_choice
            thinking service_tier context_management output_config output_format speed inference_geo cache_control
            compaction diagnostics context_hint fallbacks task_budget betas anthropic_version anthropic_beta

            max_completion_tokens max_output_tokens n stop seed logprobs top_logprobs logit_bias frequency_penalty
            presence_penalty parallel_tool_calls response_format reasoning reasoning_effort verbosity stream_options user
            store prediction functions function_call prompt_cache_key prompt_cache_retention safety_identifier input
            instructions text include truncation max_tool_calls client_metadata previous_response_id

            inferenceConfig toolConfig additionalModelRequestFields additionalModelResponseFieldPaths performanceConfig
            requestMetadata serviceTier outputConfig

            contents systemInstruction generationConfig safetySettings generateContentRequest
        """,
        "tool": """
            custom bash_* text_editor_* computer_* memory_* advisor_* tool_search_tool_*
            function namespace local_shell apply_patch toolSpec cachePoint functionDeclarations
        """,
        "source": "base64 text content",
        "beta": """
            claude-code-* interleaved-thinking-* thinking-* redact-thinking-* context-1m-* context-management-*
            context-hint-* compact-* structured-outputs-* tool-search-tool-* advanced-tool-use-* tool-provenance-*
            tool-examples-* dangerous-tool-use-* mid-conversation-* per-turn-control-* effort-* fast-mode-*
            extended-cache-ttl-* prompt-caching-* cache-* task-budgets-* token-* fine-grained-tool-streaming-*
            advisor-tool-* server-side-fallback-* fallback-credit-* resumption-* request-tags-* timing-*
            auto-mode-* afk-mode-* output-* model-context-window-*
        """,
    }.items()
    for pattern in patterns.split()
)
"""Everything that stays between the sandbox and the model. Web search and fetch, connectors and files are not in it."""

SETTING = "RCLAUDE_RUNNER_MODEL_ALLOW"


class NotAllowed(Exception):
    """The call asks for something that no rule allows."""

    code = "model_feature_not_allowed"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"a sandbox may not use {kind} {name[:80]!r} of the model's service:"
            f" the operator can allow it with {SETTING}={kind}:{name[:80]}"
        )


class ModelNotAllowed(NotAllowed):
    """The call names a model that the organisation's policy does not allow."""

    code = "not_allowed_by_policy"

    def __init__(self, model: str) -> None:
        Exception.__init__(
            self,
            f"the policy of the organisation (models) does not allow the model {model[:80]!r}: an owner or admin can change"
            " it with `rclaude org policy set --models`",
        )


class CallPolicy:
    """Judges calls by a list of rules: the default ones, those that the operator adds, and the organisation's models."""

    def __init__(self, added: Iterable[str] = (), models: Sequence[str] = ()) -> None:
        """`models` are patterns of those that an organisation allows; any if there are none."""
        self._models = models
        self._rules: dict[str, list[str]] = {}
        for rule in (*DEFAULT, *added):
            kind, colon, pattern = rule.partition(":")
            if kind not in ("field", "tool", "source", "beta") or not colon or not pattern:
                raise ValueError(
                    f"{SETTING}: {rule!r} is no rule; one is KIND:PATTERN, such as tool:web_search_*"
                )
            self._rules.setdefault(kind, []).append(pattern)

    def check(self, request: Mapping[str, Any]) -> None:
        """Raises `NotAllowed` for the first thing that no rule allows."""
        model = str(request.get("model"))
        names = (model, canonical(model))
        if self._models and not any(fnmatchcase(name, pattern) for name in names for pattern in self._models):
            raise ModelNotAllowed(model)
        for kind, name in _features(request):
            if not self._allows(kind, name):
                raise NotAllowed(kind, name)

    def betas(self, header: str) -> str:
        """The features of an `anthropic-beta` header that may pass: the model ignores those that are left out."""
        names = (name.strip() for name in header.split(","))
        return ",".join(name for name in names if name and self._allows("beta", name))

    def _allows(self, kind: str, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._rules[kind])


def _features(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in request.items():
        if value not in (None, [], {}, False):
            yield "field", name
    for tool in _objects(request.get("tools")):
        yield "tool", _tool(tool)
        for member in _objects(tool.get("tools")):  # of a namespace
            yield "tool", _tool(member)
    if isinstance(config := request.get("toolConfig"), dict):  # of Converse
        for tool in _objects(config.get("tools")):
            yield "tool", _tool(tool)
    for more in ("additionalModelRequestFields", "generateContentRequest"):
        if isinstance(nested := request.get(more), dict):
            yield from _features(nested)
    for place in ("messages", "system", "input", "contents", "systemInstruction"):
        yield from _sources(request.get(place))


def _tool(tool: Mapping[str, Any]) -> str:
    """Its type; Converse and Gemini name a tool's type by its only field."""
    if isinstance(kind := tool.get("type"), str):
        return kind
    return (
        "custom" if "name" in tool else next((str(name) for name in tool if tool[name] is not None), "custom")
    )


_REMOTE = {
    "file_id": "file",
    "fileData": "file",
    "file_data": "base64",
    "file_url": "url",
    "s3Location": "s3",
}
"""Fields of a block whose content is elsewhere."""


def _sources(content: Any) -> Iterator[tuple[str, str]]:
    for block in _objects([content] if isinstance(content, dict) else content):
        if isinstance(source := block.get("source"), dict):
            if "type" in source or not ({"bytes", "text", "content"} & source.keys()):
                yield (
                    "source",
                    next((_REMOTE[name] for name in source if name in _REMOTE), str(source.get("type"))),
                )
            yield from _sources(source.get("content"))
        for name, kind in _REMOTE.items():
            if block.get(name) is not None:
                yield "source", kind
        if (image := block.get("image_url")) is not None:
            url = image.get("url") if isinstance(image, dict) else image
            yield "source", "base64" if str(url).startswith("data:") else "url"
        for inner in (
            "content",
            "output",
            "parts",
            "file",
            "image",
            "document",
            "video",
            "toolResult",
            "functionResponse",
        ):
            yield from _sources(block.get(inner))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))
