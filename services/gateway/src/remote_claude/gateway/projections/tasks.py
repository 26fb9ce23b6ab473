"""The view `gateway_tasks`: one row per task, and an index of each task's events. Keeps ciphertext, reads none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson
from psycopg import AsyncConnection
from pydantic import TypeAdapter
from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text

from remote_claude.contracts import Event
from remote_claude.contracts.gateway import Repository, TaskCancellationRequested, TaskSubmitted
from remote_claude.contracts.runner import AssignmentDeclined, AttemptFinished, TaskStarted, UsageRecorded
from remote_claude.contracts.scheduler import (
    RunnerLost,
    TaskAdmitted,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.views import View
from remote_claude.gateway.domain.lifecycle import Attempt, Progress, evolve

NAME = "gateway_tasks"

FOLDED: tuple[type[Event], ...] = (
    TaskSubmitted, TaskCancellationRequested,
    TaskAdmitted, TaskRejected, TaskAssigned, RunnerLost, TaskRequeued,
    TaskSucceeded, TaskFailed, TaskCancelled, TaskTimedOut,
    AssignmentDeclined, TaskStarted, UsageRecorded, AttemptFinished,
)  # fmt: skip

ATTEMPTS: TypeAdapter[tuple[Attempt, ...]] = TypeAdapter(tuple[Attempt, ...])
REPOSITORY: TypeAdapter[Repository] = TypeAdapter(Repository)

TABLES = MetaData()

TASKS = Table(
    "tasks",
    TABLES,
    Column("task", Text, primary_key=True),
    Column("org", Text, nullable=False),
    Column("submitted_by", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("submitted_at", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("repository", Text),
    Column("labels", Text),
    Column("max_attempts", Integer, nullable=False),
    Column("timeout_s", Integer),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("attempt", Integer, nullable=False),
    Column("exit_code", Integer),
    Column("started_at", Text),
    Column("finished_at", Text),
    Column("decided", BigInteger),
    Column("changed", BigInteger, nullable=False),
    Column("attempts", Text, nullable=False),
    Index("tasks_by_org", "org", "position"),
    Index("tasks_by_state", "org", "state", "position"),
)

EVENTS = Table(
    "events",
    TABLES,
    Column("task", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("org", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("occurred_at", Text, nullable=False),
    Column("data", Text, nullable=False),
)

PROGRESS = ("state", "reason", "detail", "attempt", "exit_code", "started_at", "finished_at", "decided", "changed", "attempts")  # fmt: skip
ARRAYS = {"TEXT": "text[]", "BIGINT": "bigint[]", "INTEGER": "int[]"}


def _unnest(table: Table, columns: Sequence[str]) -> str:
    """`unnest` of one array per column, to write many rows with one statement."""
    return "unnest(" + ", ".join(f"%s::{ARRAYS[str(table.c[name].type)]}" for name in columns) + ")"


def _insert(table: Table) -> str:
    columns = [column.name for column in table.columns]
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM {_unnest(table, columns)}"  # noqa: S608  # names are constants of this module


INSERT_TASKS, INSERT_EVENTS = _insert(TASKS), _insert(EVENTS)
SELECT_PROGRESS = f"SELECT task, org, {', '.join(PROGRESS)} FROM tasks WHERE task = ANY(%s)"  # noqa: S608
UPDATE_PROGRESS = (
    f"UPDATE tasks SET {', '.join(f'{name} = new.{name}' for name in PROGRESS)} "  # noqa: S608
    f"FROM {_unnest(TASKS, ('task', *PROGRESS))} AS new(task, {', '.join(PROGRESS)}) WHERE tasks.task = new.task"
)


@dataclass(slots=True)
class _Row:
    """A task while its batch is folded; `first` is set when it begins in this batch."""

    org: str
    progress: Progress
    changed: bool = False
    first: tuple[Any, ...] | None = None


@dataclass(slots=True)
class _Batch:
    rows: dict[str, _Row] = field(default_factory=dict)
    index: list[tuple[Any, ...]] = field(default_factory=list)

    def fold(self, recorded: RecordedEvent) -> None:
        event = recorded.event
        if isinstance(event, TaskSubmitted):
            progress = Progress(changed=recorded.position)
            self.rows[event.task] = _Row(event.org, progress, first=_submission(event, recorded))
        row = self.rows.get(event.task)
        if row is None or row.org != event.org:
            return
        progress = evolve(
            row.progress, event, position=recorded.position, occurred_at=recorded.occurred_at
        )
        row.changed = row.changed or progress is not row.progress
        row.progress = progress
        self.index.append(
            (
                event.task,
                recorded.position,
                event.org,
                recorded.event_id,
                recorded.type,
                recorded.version,
                recorded.occurred_at,
                orjson.dumps(without_ciphertext(orjson.loads(recorded.data))).decode(),
            )
        )


class TasksView(View):
    """Folds a batch with one read, one insert and one update of tasks, and one insert into the index."""

    name: ClassVar[str] = NAME
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = TABLES
    handles: ClassVar[frozenset[str]] = frozenset(event.type for event in FOLDED)

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        batch = _Batch()
        begun = {recorded.event.task for recorded in events if recorded.type == TaskSubmitted.type}
        before = {recorded.event.task for recorded in events} - begun
        if before:
            found = await connection.execute(SELECT_PROGRESS, [list(before)])
            async for task, org, *values in found:
                batch.rows[task] = _Row(org, progress_of(dict(zip(PROGRESS, values, strict=True))))
        for recorded in events:
            batch.fold(recorded)
        new = [row.first + _values(row.progress) for row in batch.rows.values() if row.first is not None]
        old = [
            (task, *_values(row.progress))
            for task, row in batch.rows.items()
            if row.first is None and row.changed
        ]
        if new:
            await connection.execute(INSERT_TASKS, _columns(new))
        if old:
            await connection.execute(UPDATE_PROGRESS, _columns(old))
        if batch.index:
            await connection.execute(INSERT_EVENTS, _columns(batch.index))


def progress_of(row: dict[str, Any]) -> Progress:
    """The progress in a row of `tasks`."""
    values = {name: row[name] for name in PROGRESS}
    return Progress(**values | {"attempts": ATTEMPTS.validate_json(values["attempts"])})


def without_ciphertext(value: Any) -> Any:
    """JSON without its sealed texts: what is left of an event for those who may not, or can't, open them."""
    if isinstance(value, dict):
        return {k: without_ciphertext(v) for k, v in value.items() if not _is_sealed(v)}
    if isinstance(value, list):
        return [without_ciphertext(v) for v in value if not _is_sealed(v)]
    return value


def _is_sealed(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"key", "box"}


def _submission(event: TaskSubmitted, recorded: RecordedEvent) -> tuple[Any, ...]:
    return (
        event.task,
        event.org,
        event.user,
        recorded.position,
        recorded.occurred_at,
        event.agent,
        event.prompt.model_dump_json(),
        event.repository.model_dump_json() if event.repository else None,
        event.labels.model_dump_json() if event.labels else None,
        event.max_attempts,
        event.timeout_s,
        event.priority,
    )


def _values(progress: Progress) -> tuple[Any, ...]:
    *values, attempts = (getattr(progress, name) for name in PROGRESS)
    return (*values, ATTEMPTS.dump_json(attempts).decode())


def _columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
