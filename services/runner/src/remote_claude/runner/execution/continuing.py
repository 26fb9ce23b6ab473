"""A task that continues another: the submissions before it, and the checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import CheckpointSaved
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runner.execution import checkpoints

MAX_TASKS = 100
"""In one line of tasks that continue each other."""
MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Start:
    """`of_earlier_task`: the checkpoint is not of this task."""

    checkpoint: CheckpointSaved
    of_earlier_task: bool


async def lineage(log: EventLog, submitted: TaskSubmitted) -> Sequence[TaskSubmitted]:
    """The task, then the one that it continues, and so on to the first."""
    line = [submitted]
    while line[-1].continues is not None and len(line) < MAX_TASKS:
        stream = stream_id("gateway", submitted.org, "task", line[-1].continues)
        line.append((await log.read_stream(stream))[0].event)
    return line


def with_repository(line: Sequence[TaskSubmitted]) -> TaskSubmitted:
    """The submission whose repository the task works on; the task's own where none has one."""
    return next((one for one in line if one.repository is not None), line[0])


async def start(log: EventLog, line: Sequence[TaskSubmitted], attempt: int) -> Start | None:
    """The last checkpoint: of the earlier attempts of the task, otherwise of the tasks before it."""
    org = line[0].org
    for n, submitted in enumerate(line):
        before = attempt if n == 0 else MAX_ATTEMPTS + 1
        saved = await checkpoints.find(log, org, submitted.task, before)
        if saved is not None:
            return Start(saved, of_earlier_task=n > 0)
    return None
