"""What every endpoint shares: who asks, how fresh an answer has to be, how much may be sent, how a refusal is said."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

import psycopg
import structlog
from fastapi import Depends, Path, Query, Request, Response
from fastapi.routing import APIRoute
from psycopg_pool import PoolTimeout

from remote_claude.access import KeyErased
from remote_claude.gateway.domain import refusals
from remote_claude.gateway.domain.refusals import Refusal, Stale, TaskNotFound
from remote_claude.gateway.projections.queries import TaskQueries
from remote_claude.gateway.settings import GatewaySettings
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.problems import Problem, respond
from remote_claude.runtime.service import Runtime

log = structlog.get_logger(__name__)

STATUS: dict[type[Refusal], HTTPStatus] = {
    refusals.TaskNotFound: HTTPStatus.NOT_FOUND,
    refusals.NoResult: HTTPStatus.NOT_FOUND,
    refusals.TaskAlreadyFinished: HTTPStatus.CONFLICT,
    refusals.IdempotencyKeyReused: HTTPStatus.CONFLICT,
    refusals.UnknownAgent: HTTPStatus.UNPROCESSABLE_ENTITY,
    refusals.AgentUnavailable: HTTPStatus.UNPROCESSABLE_ENTITY,
    refusals.RepositoryUrlRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    refusals.BundleNotFound: HTTPStatus.UNPROCESSABLE_ENTITY,
    refusals.InvalidCursor: HTTPStatus.UNPROCESSABLE_ENTITY,
    refusals.NotCaughtUp: HTTPStatus.SERVICE_UNAVAILABLE,
    refusals.Stale: HTTPStatus.SERVICE_UNAVAILABLE,
}
RETRY_AFTER_S = "1"
DRAINED_BYTES = 64 * 1024 * 1024
"""How much of a body that is too large is read and dropped, so that its sender gets to read the refusal."""

MAX_POSITION = 2**63 - 1
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class RefusingRoute(APIRoute):
    """A route whose refusals are answered with problem documents."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                return await handle(request)
            except Refusal as refusal:
                return answer(Problem(STATUS[type(refusal)], refusal.code, refusal.detail, **refusal.extra))
            except KeyErased:
                return answer(
                    Problem(HTTPStatus.GONE, KeyErased.code, "This organisation's data has been erased.")
                )
            except (psycopg.OperationalError, psycopg.errors.UndefinedTable, PoolTimeout) as error:
                log.warning("the database gave no answer", error=repr(error))
                detail = "The database does not answer. Nothing is lost: ask again in a moment."
                return answer(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable", detail))

        return handle_or_refuse


def answer(problem: Problem) -> Response:
    """The problem document; a refusal for now says when to ask again."""
    response = respond(problem)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = RETRY_AFTER_S
    return response


class Edge:
    """Dependencies of the endpoints."""

    def __init__(self, runtime: Runtime, settings: GatewaySettings, queries: TaskQueries) -> None:
        self._runtime, self._settings, self._queries = runtime, settings, queries

    async def fresh(
        self,
        min_position: Annotated[
            int | None,
            Query(
                ge=0,
                le=MAX_POSITION,
                description="Wait, for some seconds, until the answer reflects this position.",
            ),
        ] = None,
    ) -> None:
        """Refuse to answer out of the past. Raises `Stale`, `NotCaughtUp`."""
        if self._runtime.tail.age > self._settings.stale_after_s:
            raise Stale
        if min_position is not None:
            await self._queries.caught_up(min_position, self._settings.position_wait_s)


async def task_id(task: Annotated[str, Path(description="The id of a task.")]) -> str:
    """The path's task id. Raises `TaskNotFound` for what can't be one."""
    if not is_id("task", task):
        raise TaskNotFound(task)
    return task


TaskId = Annotated[str, Depends(task_id)]


async def bounded_body(request: Request, limit: int, too_large: Problem) -> bytes:
    """The whole body. Raises `too_large` above `limit` bytes, having kept none of it."""
    announced = request.headers.get("content-length", "")
    body = bytearray()
    if announced.isdigit() and int(announced) > limit:
        await drain(request, int(announced))
        raise too_large
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            await drain(request, 0)
            raise too_large
    return bytes(body)


async def drain(request: Request, announced: int) -> None:
    """Read and drop a body, unless there is too much of it."""
    if announced > DRAINED_BYTES:
        return
    dropped = 0
    async for chunk in request.stream():
        dropped += len(chunk)
        if dropped > DRAINED_BYTES:
            return
