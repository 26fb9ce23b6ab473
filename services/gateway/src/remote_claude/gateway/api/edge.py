"""What every endpoint shares: who asks, how fresh an answer has to be, how much may be sent, how a refusal is said."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Coroutine
from http import HTTPStatus
from typing import Annotated, Any

import psycopg
import structlog
from fastapi import Depends, Path, Query, Request, Response
from fastapi.routing import APIRoute
from nats.errors import Error as NatsError
from obstore.exceptions import BaseError as ObjectStoreError
from psycopg_pool import PoolTimeout

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.eventsourcing.tail import Tail
from remote_claude.gateway.domain import refusals
from remote_claude.gateway.domain.refusals import Refusal, Stale, TaskNotFound
from remote_claude.gateway.handlers import Decisions
from remote_claude.gateway.projections.queries import TaskQueries
from remote_claude.gateway.settings import GatewaySettings
from remote_claude.runtime.agent_output import OutputUnavailable
from remote_claude.runtime.http.problems import Problem, respond
from remote_claude.runtime.ids import is_id

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
    refusals.NotKnownToBeRecorded: HTTPStatus.SERVICE_UNAVAILABLE,
    refusals.NotCaughtUp: HTTPStatus.SERVICE_UNAVAILABLE,
    refusals.Stale: HTTPStatus.SERVICE_UNAVAILABLE,
}
UNAVAILABLE = (
    psycopg.OperationalError,
    psycopg.errors.UndefinedTable,
    PoolTimeout,
    NatsError,
    OutputUnavailable,
    ObjectStoreError,
)
"""What the stores' clients raise while a store is away."""

FULL = Problem(
    HTTPStatus.INSUFFICIENT_STORAGE,
    "storage_full",
    "The server has no room for this, and kept nothing of it. Its operator has to make room; then send it again.",
)

OWN_WORDS_WAIT_S = 0.5
RETRY_AFTER_S = "1"
DROPPED_BYTES = 64 * 1024 * 1024
"""How much of a body that is too large is read and dropped, so that its sender gets to read the refusal."""

MAX_POSITION = 2**63 - 1
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class RefusingRoute(APIRoute):
    """A route whose refusals are answered with problem documents."""

    def get_route_handler(self) -> Handler:
        return _refusing(super().get_route_handler())


class PlainRoute(RefusingRoute):
    """The same for an endpoint that takes the request and nothing else: FastAPI only documents it."""

    def get_route_handler(self) -> Handler:
        return _refusing(self.endpoint)


def _refusing(handle: Handler) -> Handler:
    async def handle_or_refuse(request: Request) -> Response:
        try:
            return await handle(request)
        except Refusal as refusal:
            return answer(Problem(STATUS[type(refusal)], refusal.code, refusal.detail, **refusal.extra))
        except KeyErased:
            return answer(
                Problem(HTTPStatus.GONE, KeyErased.code, "This organisation's data has been erased.")
            )
        except KeyUnusable as error:
            log.error("a text can't be opened", error=str(error))
            detail = "The operator has to put the key-encryption key back that this installation began with."
            return answer(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "key_unusable", detail))
        except UNAVAILABLE as error:
            problem = unavailable(error)
            log.warning("a store gave no answer", code=problem.code, error=repr(error))
            return answer(problem)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            log.error("a disk is full", error=str(error))
            return answer(FULL)

    return handle_or_refuse


def unavailable(error: Exception) -> Problem:
    """What is said of one of `UNAVAILABLE`."""
    code, what = "objects_unavailable", "object store"
    if isinstance(error, psycopg.Error | PoolTimeout):
        code, what = "database_unavailable", "database"
    elif isinstance(error, NatsError | OutputUnavailable):
        code, what = "broker_unavailable", "broker"
    detail = f"The {what} does not answer. Nothing is lost: ask again in a moment."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail)


def answer(problem: Problem) -> Response:
    """The problem document; a refusal for now says when to ask again."""
    response = respond(problem)
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = RETRY_AFTER_S
    return response


class Edge:
    """Dependencies of the endpoints."""

    def __init__(
        self, tail: Tail, settings: GatewaySettings, queries: TaskQueries, decisions: Decisions
    ) -> None:
        self._tail, self._settings, self._queries, self._decisions = tail, settings, queries, decisions

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
        """Refuse to answer out of the past. Raises `Stale`, `NotCaughtUp`.

        Without a position, what this process has answered before is waited for, as long as that takes moments.
        """
        if self._tail.age > self._settings.stale_after_s:
            raise Stale
        if min_position is not None:
            await self._queries.caught_up(min_position, self._settings.position_wait_s)
        else:
            await self._queries.catches_up(self._decisions.position, OWN_WORDS_WAIT_S)


async def task_id(task: Annotated[str, Path(description="The id of a task.")]) -> str:
    """The path's task id. Raises `TaskNotFound` for what can't be one."""
    if not is_id("task", task):
        raise TaskNotFound(task)
    return task


TaskId = Annotated[str, Depends(task_id)]


async def bounded_body(request: Request, limit: int, too_large: Problem) -> bytes:
    """The whole body. Raises `too_large` above `limit` bytes, having kept none of it."""
    body = bytearray()
    async for chunk in bounded(request, limit, too_large):
        body += chunk
    return bytes(body)


async def bounded(request: Request, limit: int, too_large: Problem) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises `too_large` once more than `limit` bytes have been announced or have come."""
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdigit() else 0
    pieces = request.stream()
    if limit < size:
        await _drop(pieces, size)
        raise too_large
    received = 0
    async for chunk in pieces:
        received += len(chunk)
        if received > limit:
            await _drop(pieces, 0)
            raise too_large
        yield chunk


async def _drop(pieces: AsyncIterator[bytes], announced: int) -> None:
    """Read what is left of a body, unless that is too much of it."""
    if announced > DROPPED_BYTES:
        return
    dropped = 0
    async for chunk in pieces:
        dropped += len(chunk)
        if dropped > DROPPED_BYTES:
            return
