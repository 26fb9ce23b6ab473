"""What a task has put out, and what it has left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from remote_claude.access.principal import Principal
from remote_claude.contracts.gateway import ContentKind
from remote_claude.contracts.runner import CheckpointSaved
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import Freshness
from remote_claude.edge.models import binary, problems
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import EventLog
from remote_claude.gateway.api.answer_models import OutputPage
from remote_claude.gateway.api.edge import TaskId
from remote_claude.gateway.domain.cursor import Cursor
from remote_claude.gateway.domain.refusals import ContentNotKept, NoResult
from remote_claude.gateway.projections.output_frames import OutputHistory
from remote_claude.gateway.projections.queries import Task, TaskQueries, check_seen
from remote_claude.runtime.manifests import Manifest
from remote_claude.runtime.objects import ObjectNotFound, Objects

MAX_FRAMES = 1000
MAX_PAGE_BYTES = 4 * 1024 * 1024
TAGS: list[str | Enum] = ["tasks"]
After = Annotated[str, Query(max_length=40, description="The cursor of the last frame that was seen.")]
Frames = Annotated[int, Query(ge=1, le=MAX_FRAMES)]
Kind = Literal["bundle", "patch", "artifacts"]


class Results:
    """Answers with the output of a task, and with what it has left."""

    def __init__(self, history: OutputHistory, objects: Objects) -> None:
        self._history, self._objects = history, objects

    async def output(self, task: Task, as_of: int, after: Cursor, limit: int) -> Response:
        """An `OutputPage`. Raises `ContentNotKept`."""
        progress = task.progress
        check_kept(task, "output")
        frames, last, more = await _page(self._history, task.org, task.task, progress, after, limit)
        complete = progress.settled and not more
        body = {"frames": frames, "next": str(last), "more": more, "complete": complete, "as_of": as_of}
        return Response(orjson.dumps(body), media_type="application/json")

    async def file(self, task: Task, kind: Kind, media_type: str, name: str) -> Response:
        """A file of the result. Raises `NoResult`, `ContentNotKept`."""
        check_kept(task, "artifacts")
        progress = task.progress
        attempt = progress.get(progress.attempt)
        result = attempt.result if attempt else None
        sha256: str | None = getattr(result, kind) if result is not None else None
        if sha256 is None:
            raise NoResult(_why(progress.state, progress.terminal, kind, result is not None))
        pieces = self._objects.stream(task.org, sha256)
        try:
            first = await anext(pieces, b"")
        except ObjectNotFound:
            raise NoResult(f"The object {sha256} is no longer in the store.") from None
        headers = {"ETag": f'"{sha256}"', "Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(_all(first, pieces), media_type=media_type, headers=headers)


def check_kept(task: Task, kind: ContentKind) -> None:
    """Raises `ContentNotKept`."""
    if kind in task.progress.removed:
        raise ContentNotKept(kind)


def add_routes(
    api: APIRouter,
    fresh: Freshness,
    queries: TaskQueries,
    results: Results,
    objects: Objects,
    log: EventLog,
) -> None:
    """The routes `output`, `bundle` and `diff` of a task."""
    reads = [Depends(fresh)]

    async def seen(principal: Principal, task: str) -> Task:
        found, _ = await queries.get(principal.org, task)
        check_seen(principal, found)
        return found

    @api.get(
        "/v1/tasks/{task}/output",
        tags=TAGS,
        dependencies=reads,
        response_model=OutputPage,
        responses=problems(404, 410, 422, 503),
    )
    async def get_task_output(
        principal: Caller,
        task: TaskId,
        after: After = "0.0",
        limit: Frames = 200,
    ) -> Response:
        """The frames of all attempts after a cursor, in order; also while the task runs."""
        cursor = Cursor.parse(after)
        found, as_of = await queries.get(principal.org, task)
        check_seen(principal, found)
        return await results.output(found, as_of, cursor, limit)

    @api.get(
        "/v1/tasks/{task}/bundle",
        tags=TAGS,
        dependencies=reads,
        response_class=Response,
        responses=file_answers("application/x-git-bundle"),
    )
    async def get_task_bundle(principal: Caller, task: TaskId) -> Response:
        """The result as a Git bundle: the branch of the task."""
        return await results.file(
            await seen(principal, task), "bundle", "application/x-git-bundle", f"{task}.bundle"
        )

    @api.get(
        "/v1/tasks/{task}/diff",
        tags=TAGS,
        dependencies=reads,
        response_class=Response,
        responses=file_answers("text/x-diff"),
    )
    async def get_task_diff(principal: Caller, task: TaskId) -> Response:
        """The result as a patch."""
        return await results.file(
            await seen(principal, task), "patch", "text/x-diff; charset=utf-8", f"{task}.patch"
        )

    @api.get(
        "/v1/tasks/{task}/artifacts",
        tags=TAGS,
        dependencies=reads,
        response_class=Response,
        responses=file_answers("application/x-tar"),
    )
    async def get_task_artifacts(principal: Caller, task: TaskId) -> Response:
        """The files that the agent left in `$RCLAUDE_ARTIFACTS`, as a tar archive."""
        return await results.file(
            await seen(principal, task), "artifacts", "application/x-tar", f"{task}.tar"
        )

    @api.get(
        "/v1/tasks/{task}/checkpoint",
        tags=TAGS,
        dependencies=reads,
        response_class=Response,
        responses=file_answers("application/x-tar"),
    )
    async def get_task_checkpoint(principal: Caller, task: TaskId) -> Response:
        """The last checkpoint of a task, as a tar archive: the agent's conversation, and what it had changed."""
        found = await seen(principal, task)
        check_kept(found, "checkpoints")
        saved = await _last_checkpoint(log, principal.org, task, found.progress.attempt)
        try:
            if saved is None:
                raise NoResult("The task has saved no checkpoint.")
            manifest = Manifest.model_validate_json(await objects.get(principal.org, saved))
            pieces = _chunks(objects, principal.org, manifest)
            first = await anext(pieces, b"")
        except ObjectNotFound:
            raise NoResult("The checkpoint is no longer in the store.") from None
        return StreamingResponse(_all(first, pieces), media_type="application/x-tar")


async def _page(
    history: OutputHistory, org: str, task: str, progress: Any, cursor: Cursor, limit: int
) -> tuple[list[Any], Cursor, bool]:
    """At most `limit` frames, or about 4 MiB; the cursor of the last; whether there is more."""
    page: list[Any] = []
    size = 0
    async for frames in history.read(org, task, progress, cursor):
        for number, frame in enumerate(frames.frames, frames.first):
            if len(page) == limit or size > MAX_PAGE_BYTES:
                return page, cursor, True
            cursor = Cursor(frames.attempt, number)
            data = b'{"cursor":"%b",%b' % (str(cursor).encode(), orjson.dumps(frame)[1:])
            size += len(data)
            page.append(orjson.Fragment(data))
    return page, cursor, False


def _why(state: str, terminal: bool, kind: Kind, has_result: bool) -> str:
    if not terminal:
        return f"The task is {state}: its result comes with its end."
    if kind == "artifacts":
        return "The task has left no artifacts."
    if has_result:
        return "The task has changed nothing in its repository."
    return f"The task is {state} and has left no result."


def file_answers(media_type: str) -> dict[int | str, dict[str, Any]]:
    """What a route that answers with a file is documented with."""
    return {200: {"description": "The file.", "content": binary(media_type)}, **problems(404, 410, 503)}


async def _last_checkpoint(log: EventLog, org: str, task: str, attempts: int) -> str | None:
    """The manifest of the last checkpoint of all attempts."""
    for attempt in range(attempts, 0, -1):
        history = await log.read_stream(stream_id("runner", org, "attempt", f"{task}-{attempt}"))
        saved = [recorded.event for recorded in history if recorded.type == CheckpointSaved.type]
        if saved:
            return str(saved[-1].manifest)
    return None


async def _chunks(objects: Objects, org: str, manifest: Manifest) -> AsyncIterator[bytes]:
    for chunk in manifest.chunks:
        yield await objects.get(org, chunk)


async def _all(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
