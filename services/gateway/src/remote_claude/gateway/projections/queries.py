"""Questions to the view `gateway_tasks`. Every answer says which position of the log it reflects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row
from pydantic import TypeAdapter

from remote_claude.access.principal import Principal
from remote_claude.contracts import Sealed
from remote_claude.contracts.gateway import Repository
from remote_claude.contracts.refusals import NotCaughtUp
from remote_claude.edge.paging import decode_cursor, encode_cursor
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import query_for
from remote_claude.eventsourcing.tail import Tail
from remote_claude.gateway.domain.lifecycle import State, TaskProgress
from remote_claude.gateway.domain.refusals import TaskNotFound
from remote_claude.gateway.projections.tasks import TasksView, progress_of

LAST_POSITION = 2**63 - 1

ONE = """
SELECT c.position AS as_of, t.*, s.*, t.position AS position, t.task AS found FROM gateway_tasks.checkpoint c
LEFT JOIN (gateway_tasks.task t JOIN gateway_tasks.submission s USING (task)) ON t.org = %(org)s AND t.task = %(task)s
"""
PAGE = """
SELECT c.position AS as_of, t.*, s.*, t.position AS position, t.task AS found FROM gateway_tasks.checkpoint c
LEFT JOIN LATERAL (
    {tasks} ORDER BY {position} DESC LIMIT %(limit)s
) t ON true LEFT JOIN gateway_tasks.submission s USING (task) ORDER BY t.position DESC
"""
EVENTS = """
SELECT c.position AS as_of, e.*, e.position AS found FROM gateway_tasks.checkpoint c
LEFT JOIN LATERAL (
    SELECT position, event_id, type, version, occurred_at, data FROM gateway_tasks.event
    WHERE task = %(task)s AND org = %(org)s AND position > %(after)s
    ORDER BY position LIMIT %(limit)s
) e ON true ORDER BY e.position
"""

# Each from an index in the order of positions: of several states, the newest of each.
TASKS = "SELECT * FROM gateway_tasks.task WHERE org = %(org)s AND position < %(before)s"
BY_STATE = """SELECT x.* FROM unnest(%(states)s::text[]) AS wanted, LATERAL (
    SELECT * FROM gateway_tasks.task t WHERE t.org = %(org)s AND t.state = wanted AND t.position < %(before)s
    ORDER BY t.position DESC LIMIT %(limit)s
) x"""
BY_SUBMISSION = """SELECT t.* FROM gateway_tasks.submission x JOIN gateway_tasks.task t USING (task)
    WHERE x.org = %(org)s AND x.position < %(before)s {columns}"""

SEEN = """SELECT t.* FROM gateway_tasks.task t JOIN gateway_tasks.submission x USING (task)
    WHERE t.org = %(org)s AND t.position < %(before)s
    AND (x.submitted_by = %(seen_by)s OR x.team = ANY (%(seen_teams)s)) {columns}"""

REPOSITORY: TypeAdapter[Repository | None] = TypeAdapter(Repository | None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task as the view has it; texts are sealed. `position` is that of its submission."""

    task: str
    org: str
    position: int
    submitted_by: str
    team: str | None
    submitted_at: str
    agent: str
    prompt: Sealed
    repository: Repository | None
    labels: Sealed | None
    max_attempts: int
    timeout_s: int | None
    priority: int
    progress: TaskProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which tasks a list shows. Empty or None: all of them. `seen_by` is somebody who does not see all."""

    states: tuple[State, ...] = ()
    agent: str | None = None
    submitted_by: str | None = None
    team: str | None = None
    seen_by: Principal | None = None


EVERYTHING = Filter()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """An event of a task, without its sealed texts."""

    position: int
    event_id: str
    type: str
    version: int
    occurred_at: str
    data: dict[str, Any]


def check_seen(who: Principal, found: Task) -> None:
    """Raises `TaskNotFound` for a task that they may not see."""
    if not who.sees(found.submitted_by, found.team):
        raise TaskNotFound(found.task)


class TaskQueries:
    """Reads the view. Another organisation's task is not there.

    `projector` gives the view's projector, which says how far the view is, `tail` how far the log is. Nothing is
    said not to be there by a view that does not reach, within `wait_s`, where the log was when it was asked.
    """

    def __init__(self, pool: Pool, tail: Tail, projector: Callable[[], Projector], wait_s: float) -> None:
        self._pool, self._tail, self._projector, self._wait_s = pool, tail, projector, wait_s

    async def caught_up(self, position: int, timeout: float) -> None:
        """Wait until the view holds `position`. Raises `NotCaughtUp`."""
        if not await self.catches_up(position, timeout):
            raise NotCaughtUp(position, self._projector().position)

    async def catches_up(self, position: int, timeout: float) -> bool:
        """Whether the view holds `position` within `timeout` seconds."""
        return await self._projector().wait_for(position, timeout)

    async def get(self, org: str, task: str) -> tuple[Task, int]:
        """A task and `as_of`. Raises `TaskNotFound`, `NotCaughtUp`."""
        end = self._tail.position
        rows, as_of = await self._rows(ONE, {"org": org, "task": task})
        if not rows and as_of < end:
            await self.caught_up(end, self._wait_s)
            rows, as_of = await self._rows(ONE, {"org": org, "task": task})
        if not rows and as_of < end:
            raise NotCaughtUp(end, as_of)
        if not rows:
            raise TaskNotFound(task)
        return _task(rows[0]), as_of

    async def check_seen(self, who: Principal, task: str) -> None:
        """Raises `TaskNotFound` for a task that they may not see, as for one that is not there, and `NotCaughtUp`."""
        if not who.sees_all:
            found, _ = await self.get(who.org, task)
            check_seen(who, found)

    async def page(
        self, org: str, shown: Filter, limit: int, cursor: str | None
    ) -> tuple[list[Task], str | None, int]:
        """Tasks, newest first; the cursor of what follows, if anything does; `as_of`. Raises `InvalidCursor`."""
        parameters: dict[str, Any] = {
            "org": org,
            "before": decode_cursor(cursor)[0] if cursor is not None else LAST_POSITION,
            "states": list(shown.states),
            "agent": shown.agent,
            "submitted_by": shown.submitted_by,
            "team": shown.team,
            "limit": limit + 1,
        }
        columns = [
            f"AND x.{name} = %({name})s" for name in ("agent", "submitted_by", "team") if parameters[name]
        ]
        who = shown.seen_by
        if who is not None:
            parameters["seen_by"] = who.user
            parameters["seen_teams"] = list(who.teams if who.visibility == "team" else ())
            columns += ["AND t.state = ANY (%(states)s)"] if shown.states else []
            tasks_of, position = SEEN.format(columns=" ".join(columns)), "t.position"
        elif columns:
            position = "x.position"
            states = ["AND t.state = ANY (%(states)s)"] if shown.states else []
            tasks_of = BY_SUBMISSION.format(columns=" ".join(columns + states))
        else:
            tasks_of, position = BY_STATE if shown.states else TASKS, "position"
        rows, as_of = await self._rows(PAGE.format(tasks=tasks_of, position=position), parameters)
        tasks = [_task(row) for row in rows[:limit]]
        return tasks, encode_cursor(tasks[-1].position, tasks[-1].task) if len(rows) > limit else None, as_of

    async def events(self, org: str, task: str, after: int, limit: int) -> tuple[list[TaskEvent], int]:
        """The events of a task after a position, in order, and `as_of`."""
        parameters = {"org": org, "task": task, "after": after, "limit": limit}
        rows, as_of = await self._rows(EVENTS, parameters)
        return [TaskEvent(**row) for row in rows], as_of

    async def _rows(self, query: str, parameters: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
        """What was found, and the position that it reflects.

        That is what was applied before, since the checkpoint does not move over each event that the view ignores; or the
        checkpoint beside it, where another process applies, or PostgreSQL has died and lost its last commits.
        """
        projector = self._projector()
        applied, stored = projector.position, projector.stored
        async with (
            query_for(self._pool, TasksView, parameters["org"]) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            # Not prepared: a rebuild may change the columns under a prepared statement.
            await cursor.execute(query.encode(), parameters, prepare=False)
            rows = await cursor.fetchall()
        as_of = int(rows[0]["as_of"])
        if as_of >= stored:
            as_of = max(applied, as_of)
        found = []
        for row in rows:
            del row["as_of"]
            if row.pop("found") is not None:
                found.append(row)
        return found, as_of


def _task(row: dict[str, Any]) -> Task:
    return Task(
        task=row["task"],
        org=row["org"],
        position=row["position"],
        submitted_by=row["submitted_by"],
        team=row["team"],
        submitted_at=row["submitted_at"],
        agent=row["agent"],
        prompt=Sealed.model_validate(row["prompt"]),
        repository=REPOSITORY.validate_python(row["repository"]),
        labels=Sealed.model_validate(row["labels"]) if row["labels"] else None,
        max_attempts=row["max_attempts"],
        timeout_s=row["timeout_s"],
        priority=row["priority"],
        progress=progress_of(row),
    )
