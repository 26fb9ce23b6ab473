"""How an attempt ended: the result of its worker, the end of its sandbox, and why it was stopped make one verdict."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from remote_claude.contracts.runner import WORKER_LOST, AttemptOutcome
from remote_claude.runner.model_proxy.failures import ModelFailure
from remote_claude.runner.providers import ImageUnusable, ProviderError, SandboxExit
from remote_claude.runner.sessions import WorkerLost, WorkerResult, WorkerSession
from remote_claude.runner.stopping import OUTCOME_OF_STOP, StopReason

log = structlog.get_logger(__name__)


DETAILS = {
    "out_of_memory": "the sandbox ran out of memory, and was ended",
    "timed_out": "the time that an attempt may take was over",
    "silent": "its output was silent for longer than the operator allows, and it was ended: `rclaude resume` goes on",
    "output_too_large": "it printed more than an attempt may, and was ended",
}
"""What is known of attempts that were ended before they could say anything."""
ENDS_WELL_WITHOUT_ITS_MODEL = frozenset({"codex"})
"""Agents that end their turn as usual when their last call to the model failed, and print the error."""


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt ended, and the result that its worker sent."""

    outcome: AttemptOutcome
    reason: str | None = None
    exit_code: int | None = None
    detail: str | None = None
    """Why, in a sentence."""
    result: WorkerResult | None = None


def judge(
    name: str,
    session: WorkerSession,
    gone: asyncio.Task[SandboxExit],
    stop_reason: StopReason | None,
    model_failure: ModelFailure | None = None,
    image: str | None = None,
    agent: str = "",
) -> AttemptEnd:
    """The verdict, of what is known by now. A reason to stop counts more than a result, a result more than an exit.

    `image` is the one that the task named, if it did.
    """
    result: WorkerResult | None = None
    if session.result.done():
        try:
            result = session.result.result()
        except WorkerLost as error:
            log.warning("a worker was lost", attempt=name, detail=str(error))
    if stop_reason is not None:
        return AttemptEnd(
            OUTCOME_OF_STOP[stop_reason], stop_reason, detail=DETAILS.get(stop_reason), result=result
        )
    if result is not None:
        return judge_result(result, model_failure, agent)
    if gone.done():
        return _judge_exit(name, session, gone, image)
    return lost(session.connected.is_set(), image)


def judge_result(result: WorkerResult, model_failure: ModelFailure | None, agent: str = "") -> AttemptEnd:
    """An agent that failed because the model did fails for the model's reason."""
    if model_failure is not None and result.outcome == "succeeded" and agent in ENDS_WELL_WITHOUT_ITS_MODEL:
        return AttemptEnd("failed", model_failure.reason, result.exit_code, model_failure.detail, result)
    if result.outcome != "failed":
        return AttemptEnd(result.outcome, result.reason, result.exit_code, result.detail, result)
    if model_failure is not None and result.reason == "agent_failed":
        return AttemptEnd(
            result.outcome, model_failure.reason, result.exit_code, model_failure.detail, result
        )
    return AttemptEnd(
        result.outcome, result.reason, result.exit_code, result.detail or result.summary or None, result
    )


def lost(connected: bool, image: str | None) -> AttemptEnd:
    """Without a result. A worker that never connected is the fault of the image that the task named, or the runner's.

    The first is charged from the start of the sandbox, and not tried again: otherwise an image could compute unpaid.
    """
    if connected:
        return AttemptEnd("lost", WORKER_LOST)
    if image is None:
        return AttemptEnd("lost", "worker_missing")
    return AttemptEnd(
        "failed",
        ImageUnusable.code,
        detail=f"the worker in the image {image} did not connect: build it on the worker's image, and keep its entry point",
    )


def _judge_exit(
    name: str, session: WorkerSession, gone: asyncio.Task[SandboxExit], image: str | None
) -> AttemptEnd:
    """A sandbox that ended without a result."""
    try:
        end = gone.result()
    except ProviderError as error:
        log.error("the sandbox failed", attempt=name, code=error.code, detail=str(error))
        return AttemptEnd("lost", error.code, detail=str(error))
    match end.reason:
        case "deadline":
            return AttemptEnd("timed_out", "timed_out", detail=DETAILS["timed_out"])
        case "out_of_memory":
            return AttemptEnd("failed", "out_of_memory", end.code, DETAILS["out_of_memory"])
        case _:
            log.warning(
                "a sandbox ended without a result", attempt=name, code=end.code, output=end.output[-2000:]
            )
            return lost(session.connected.is_set(), image)
