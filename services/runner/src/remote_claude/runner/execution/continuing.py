"""A task that continues another: the submissions before it, and the checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import CheckpointSaved
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runner.execution import checkpoint_store

MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """`of_earlier_task`: the checkpoint is not of this task."""

    checkpoint: CheckpointSaved
    of_earlier_task: bool


async def start(log: EventLog, line: Sequence[TaskSubmitted], attempt: int) -> StartingPoint | None:
    """The last checkpoint: of the earlier attempts of the task, otherwise of the tasks before it."""
    org = line[0].org
    for n, submitted in enumerate(line):
        before = attempt if n == 0 else MAX_ATTEMPTS + 1
        saved = await checkpoint_store.find(log, org, submitted.task, before)
        if saved is not None:
            return StartingPoint(saved, of_earlier_task=n > 0)
    return None
