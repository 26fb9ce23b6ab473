"""What the model's service said when it did not answer a call: a stable code, and its own sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_SENTENCE = 500


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """`reason` is a stable code, `detail` a sentence for people."""

    reason: str
    detail: str


_BY_STATUS = {
    400: "model_call_refused",
    401: "model_key_refused",
    403: "model_key_refused",
    404: "model_unknown",
    413: "model_call_refused",
    429: "model_rate_limited",
    529: "model_overloaded",
}
_BY_TYPE = {
    "overloaded_error": "model_overloaded",
    "rate_limit_error": "model_rate_limited",
    "authentication_error": "model_key_refused",
    "rate_limit_exceeded": "model_rate_limited",
    "throttlingException": "model_rate_limited",
    "serviceUnavailableException": "model_overloaded",
    "RESOURCE_EXHAUSTED": "model_rate_limited",
    "UNAVAILABLE": "model_overloaded",
}
_ADVICE = {
    "model_key_refused": (
        "Check the key: `rclaude model list` shows which one is used. The operator's is the one that the services were "
        "started with."
    ),
    "model_rate_limited": "Run the task again later, or raise the limit of the key.",
    "model_overloaded": "Run the task again later.",
    "model_unknown": "Choose a model that the key may use.",
}


def of_status(status: int, answer: Mapping[str, Any]) -> ModelFailure:
    """An answer that is an error, by its status and body."""
    reason = _BY_STATUS.get(status, "model_failed")
    return _failure(reason, f"the model's service answered {status}", _message(answer))


def of_stream(error: Mapping[str, Any]) -> ModelFailure:
    """An error in the middle of a stream."""
    reason = _BY_TYPE.get(str(error.get("type")), "model_failed")
    return _failure(reason, "the model's service broke its answer off", _message({"error": error}))


def cut() -> ModelFailure:
    """The connection ended before the answer did."""
    return ModelFailure(
        "model_answer_cut", "The connection to the model's service ended before its answer did."
    )


def unreachable(error: Exception) -> ModelFailure:
    """No answer at all."""
    detail = f"The model's service cannot be reached: {error!r}. Check its address and the network."
    return ModelFailure("model_unreachable", detail[:MAX_SENTENCE])


def of_credential(error: Exception) -> ModelFailure:
    """The credential gives nothing to send."""
    return _failure("model_key_refused", str(error), "")


def _failure(reason: str, what: str, message: str) -> ModelFailure:
    sentence = f"{what[0].upper()}{what[1:]}" + (f": {message}" if message else "")
    ended = sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
    return ModelFailure(reason, " ".join(filter(None, (ended, _ADVICE.get(reason)))))


def _message(answer: Mapping[str, Any]) -> str:
    error = answer.get("error", answer)
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(message.split())[:MAX_SENTENCE] if isinstance(message, str) else ""
