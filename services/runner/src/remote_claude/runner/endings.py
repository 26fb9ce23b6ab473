"""How an attempt ended: what its worker said, the end of its sandbox, and why it was stopped make one verdict."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

import structlog

from remote_claude.contracts.runner import WORKER_LOST, AttemptOutcome
from remote_claude.runner.model_proxy.failures import ModelFailure
from remote_claude.runner.providers.base import Exit, ProviderError
from remote_claude.runner.worker_link import WorkerLink, WorkerLost, WorkerResult

log = structlog.get_logger(__name__)

StopReason = Literal["cancelled", "timed_out", "output_too_large", "lost", "revoked"]

OUTCOME_OF_STOP: dict[StopReason, AttemptOutcome] = {
    "cancelled": "cancelled",
    "timed_out": "timed_out",
    "output_too_large": "failed",
    "lost": "lost",
    "revoked": "lost",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, and what its worker said of it."""

    outcome: AttemptOutcome
    reason: str | None = None
    exit_code: int | None = None
    detail: str | None = None
    """Why, in a sentence."""
    said: WorkerResult | None = None


def judge(
    name: str,
    link: WorkerLink,
    gone: asyncio.Task[Exit],
    stop_reason: StopReason | None,
    model_failure: ModelFailure | None = None,
) -> Ended:
    """The verdict, of what is known by now. A reason to stop counts more than a word, a word more than an exit."""
    said: WorkerResult | None = None
    if link.result.done():
        try:
            said = link.result.result()
        except WorkerLost as error:
            log.warning("a worker was lost", attempt=name, detail=str(error))
    if stop_reason is not None:
        return Ended(OUTCOME_OF_STOP[stop_reason], stop_reason, said=said)
    if said is not None:
        return judge_words(said, model_failure)
    if gone.done():
        return _judge_exit(name, link, gone)
    return _lost(link)


def judge_words(said: WorkerResult, model_failure: ModelFailure | None) -> Ended:
    """An agent that failed because the model did fails for the model's reason."""
    if said.outcome != "failed":
        return Ended(said.outcome, said.reason, said.exit_code, said=said)
    if model_failure is not None and said.reason == "agent_failed":
        return Ended(said.outcome, model_failure.reason, said.exit_code, model_failure.detail, said)
    return Ended(said.outcome, said.reason, said.exit_code, said.summary or None, said)


def _lost(link: WorkerLink) -> Ended:
    """A worker that never came was ours to bring."""
    return Ended("lost", WORKER_LOST if link.connected.is_set() else "worker_missing")


def _judge_exit(name: str, link: WorkerLink, gone: asyncio.Task[Exit]) -> Ended:
    """A sandbox that ended without a word."""
    try:
        end = gone.result()
    except ProviderError as error:
        log.error("the sandbox failed", attempt=name, code=error.code, detail=str(error))
        return Ended("lost", error.code, detail=str(error))
    match end.reason:
        case "deadline":
            return Ended("timed_out", "timed_out")
        case "out_of_memory":
            return Ended("failed", "out_of_memory", end.code)
        case _:
            log.warning(
                "a sandbox ended without a word", attempt=name, code=end.code, said=end.output[-2000:]
            )
            return _lost(link)
