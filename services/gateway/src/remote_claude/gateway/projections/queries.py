"""Questions to the view `gateway_tasks`. Every answer says which position of the log it reflects."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from remote_claude.eventsourcing.projector import Projector

from remote_claude.contracts import Sealed
from remote_claude.contracts.gateway import Repository
from remote_claude.gateway.domain.lifecycle import Progress, State
from remote_claude.gateway.domain.refusals import InvalidCursor, NotCaughtUp, TaskNotFound
from remote_claude.gateway.projections.tasks import NAME, REPOSITORY, progress_of

SCHEMA = NAME
CONNECTION_TIMEOUT_S = 5

ONE = f"""
SELECT c.position AS as_of, t.* FROM {SCHEMA}.checkpoint c
LEFT JOIN {SCHEMA}.tasks t ON t.org = %(org)s AND t.task = %(task)s
"""  # noqa: S608  # the schema's name is a constant
PAGE = f"""
SELECT c.position AS as_of, t.* FROM {SCHEMA}.checkpoint c
LEFT JOIN LATERAL (
    SELECT * FROM {SCHEMA}.tasks
    WHERE org = %(org)s AND position < %(before)s {{state}}
    ORDER BY position DESC LIMIT %(limit)s
) t ON true ORDER BY t.position DESC
"""  # noqa: S608
EVENTS = f"""
SELECT c.position AS as_of, e.* FROM {SCHEMA}.checkpoint c
LEFT JOIN LATERAL (
    SELECT position, event_id, type, version, occurred_at, data FROM {SCHEMA}.events
    WHERE task = %(task)s AND org = %(org)s AND position > %(after)s
    ORDER BY position LIMIT %(limit)s
) e ON true ORDER BY e.position
"""  # noqa: S608
LAST_POSITION = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task as the view has it; texts are sealed."""

    task: str
    org: str
    submitted_by: str
    position: int
    submitted_at: str
    agent: str
    prompt: Sealed
    repository: Repository | None
    labels: Sealed | None
    max_attempts: int
    timeout_s: int | None
    priority: int
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event of a task, without its sealed texts."""

    position: int
    event_id: str
    type: str
    version: int
    occurred_at: str
    data: dict[str, Any]


class TaskQueries:
    """Reads the view. Another organisation's task is not there.

    `projector` gives the view's projector, which says how far the view is.
    """

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]], projector: Callable[[], Projector]) -> None:
        self._pool, self._projector = pool, projector

    async def caught_up(self, position: int, timeout: float) -> None:
        """Wait until the view holds `position`. Raises `NotCaughtUp`."""
        projector = self._projector()
        if not await projector.wait_for(position, timeout):
            raise NotCaughtUp(position, projector.position)

    async def get(self, org: str, task: str) -> tuple[TaskRow, int]:
        """A task and `as_of`. Raises `TaskNotFound`."""
        rows, as_of = await self._rows(ONE, {"org": org, "task": task}, key="task")
        if not rows:
            raise TaskNotFound(task)
        return _task(rows[0]), as_of

    async def page(
        self, org: str, state: State | None, limit: int, cursor: str | None
    ) -> tuple[list[TaskRow], str | None, int]:
        """Tasks, newest first; the cursor of what follows, if anything does; `as_of`. Raises `InvalidCursor`."""
        before = _decode(cursor) if cursor is not None else LAST_POSITION
        query = PAGE.format(state="AND state = %(state)s" if state else "")
        parameters = {"org": org, "before": before, "state": state, "limit": limit + 1}
        rows, as_of = await self._rows(query, parameters, key="task")
        tasks = [_task(row) for row in rows[:limit]]
        return tasks, _encode(tasks[-1]) if len(rows) > limit else None, as_of

    async def events(self, org: str, task: str, after: int, limit: int) -> tuple[list[EventRow], int]:
        """The events of a task after a position, in order, and `as_of`."""
        parameters = {"org": org, "task": task, "after": after, "limit": limit}
        rows, as_of = await self._rows(EVENTS, parameters, key="position")
        return [EventRow(**row | {"data": orjson.loads(row["data"])}) for row in rows], as_of

    async def _rows(self, query: str, parameters: dict[str, Any], *, key: str) -> tuple[list[dict[str, Any]], int]:
        """The rows, and the position that they reflect: the checkpoint beside them, or what was applied before."""
        applied = self._projector().position
        async with (
            self._pool.connection(CONNECTION_TIMEOUT_S) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(query, parameters)
            rows = await cursor.fetchall()
        as_of = max(applied, rows[0]["as_of"])
        for row in rows:
            del row["as_of"]
        return [row for row in rows if row[key] is not None], as_of


def _task(row: dict[str, Any]) -> TaskRow:
    return TaskRow(
        task=row["task"],
        org=row["org"],
        submitted_by=row["submitted_by"],
        position=row["position"],
        submitted_at=row["submitted_at"],
        agent=row["agent"],
        prompt=Sealed.model_validate_json(row["prompt"]),
        repository=REPOSITORY.validate_json(row["repository"]) if row["repository"] else None,
        labels=Sealed.model_validate_json(row["labels"]) if row["labels"] else None,
        max_attempts=row["max_attempts"],
        timeout_s=row["timeout_s"],
        priority=row["priority"],
        progress=progress_of(row),
    )


def _encode(task: TaskRow) -> str:
    return urlsafe_b64encode(f"{task.position}/{task.task}".encode()).decode().rstrip("=")


def _decode(cursor: str) -> int:
    try:
        position, _, task = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition("/")
        if not task or not 0 < int(position) <= LAST_POSITION:
            raise InvalidCursor
        return int(position)
    except (NotBase64, ValueError):
        raise InvalidCursor from None
