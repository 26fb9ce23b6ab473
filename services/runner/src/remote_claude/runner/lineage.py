"""The tasks that a task continues, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import EventLog

MAX_TASKS = 100
"""In one line of tasks that continue each other."""


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
