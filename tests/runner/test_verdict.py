"""What makes the verdict on an attempt, where its worker and the model have said something."""

from __future__ import annotations

import pytest

from remote_claude.runner.execution.verdict import judge_result, lost
from remote_claude.runner.model_proxy.failures import ModelFailure
from remote_claude.runner.sessions import WorkerResult

OVERLOADED = ModelFailure("model_overloaded", "The model's service answered 529.")


def said(outcome: str, reason: str | None = None, summary: str = "API Error") -> WorkerResult:
    return WorkerResult(outcome=outcome, summary=summary, reason=reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "failure", "reason", "detail"),
    [
        (said("failed", "agent_failed"), OVERLOADED, "model_overloaded", OVERLOADED.detail),
        (said("failed", "agent_failed"), None, "agent_failed", "API Error"),
        (said("failed", "agent_exited", "exit 2"), OVERLOADED, "agent_exited", "exit 2"),
        (said("succeeded"), OVERLOADED, None, None),
    ],
)
def test_an_agent_that_failed_because_the_model_did_fails_for_the_models_reason(
    words: WorkerResult, failure: ModelFailure | None, reason: str | None, detail: str | None
) -> None:
    ended = judge_result(words, failure)
    assert (ended.reason, ended.detail) == (reason, detail)


def test_codex_that_ends_well_without_its_model_has_failed() -> None:
    assert judge_result(said("succeeded"), OVERLOADED, "codex").reason == "model_overloaded"
    assert judge_result(said("succeeded"), OVERLOADED, "claude").outcome == "succeeded"


@pytest.mark.parametrize(
    ("connected", "image", "outcome", "reason"),
    [
        (True, "registry.example.com/miner", "lost", "worker_lost"),
        (False, None, "lost", "worker_missing"),
        (False, "registry.example.com/miner", "failed", "image_unusable"),
    ],
)
def test_an_image_whose_worker_never_connects_fails_once_and_is_charged(
    connected: bool, image: str | None, outcome: str, reason: str
) -> None:
    ended = lost(connected, image)
    assert (ended.outcome, ended.reason) == (outcome, reason)
    assert (ended.detail is not None) == (outcome == "failed")
