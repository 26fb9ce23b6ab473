"""What the gateway's endpoints share beyond the edge of every service."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path

from remote_claude.gateway.domain.refusals import TaskNotFound
from remote_claude.runtime.ids import is_id


async def task_id(task: Annotated[str, Path(description="The id of a task.")]) -> str:
    """The path's task id. Raises `TaskNotFound` for what can't be one."""
    if not is_id("task", task):
        raise TaskNotFound(task)
    return task


TaskId = Annotated[str, Depends(task_id)]
