"""What the log says of the attempts of a task that has ended."""

from __future__ import annotations

from remote_claude.contracts.runner import AttemptFinished
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runner.forges.description import Work


async def read_finished(log: EventLog, org: str, task: str, attempt: int) -> AttemptFinished | None:
    """The end of an attempt; None if it has none."""
    history = await log.read_stream(stream_id("runner", org, "attempt", f"{task}-{attempt}"))
    return next((r.event for r in history if r.type == AttemptFinished.type), None)


async def read_work(log: EventLog, org: str, task: str) -> Work:
    """How many attempts a task had, and what the model has cost in all of them."""
    attempts, nano_usd = 0, 0
    while (finished := await read_finished(log, org, task, attempts + 1)) is not None:
        attempts += 1
        nano_usd += finished.usage.cumulative.model_nano_usd if finished.usage is not None else 0
    return Work(task, attempts, nano_usd)
