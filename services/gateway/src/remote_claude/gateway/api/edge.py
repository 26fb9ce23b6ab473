"""What the gateway's endpoints share beyond the edge of every service."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response
from fastapi.routing import APIRoute

from remote_claude.gateway.domain.refusals import TaskNotFound
from remote_claude.runtime.ids import is_id

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PlainRoute(APIRoute):
    """An endpoint that takes the request and nothing else: FastAPI only documents it."""

    def get_route_handler(self) -> Handler:
        return self.endpoint


async def task_id(task: Annotated[str, Path(description="The id of a task.")]) -> str:
    """The path's task id. Raises `TaskNotFound` for what can't be one."""
    if not is_id("task", task):
        raise TaskNotFound(task)
    return task


TaskId = Annotated[str, Depends(task_id)]
