"""The view `gateway_tasks`: how far each task is, what was submitted, and each task's events. Reads no ciphertext."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar

import orjson
from psycopg import AsyncConnection
from pydantic import TypeAdapter
from sqlalchemy import BigInteger, Index, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts import Event
from remote_claude.contracts.gateway import (
    PermissionAnswered,
    PullRequestRequested,
    TaskCancellationRequested,
    TaskContentRemoved,
    TaskSubmitted,
)
from remote_claude.contracts.runner import (
    AssignmentDeclined,
    AttemptFinished,
    PermissionRequested,
    PermissionWithdrawn,
    PullRequestFailed,
    PullRequestOpened,
    TaskStarted,
    UsageRecorded,
)
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
from remote_claude.eventsourcing.postgres.tables import TableRow, append, load, upsert
from remote_claude.eventsourcing.views import View
from remote_claude.gateway.domain.lifecycle import AskedPermission, Attempt, PullRequest, TaskProgress, evolve

FOLDED: tuple[type[Event], ...] = (
    TaskSubmitted, TaskCancellationRequested,
    TaskAdmitted, TaskRejected, TaskAssigned, RunnerLost, TaskRequeued,
    TaskSucceeded, TaskFailed, TaskCancelled, TaskTimedOut,
    AssignmentDeclined, TaskStarted, UsageRecorded, AttemptFinished,
    PullRequestRequested, PullRequestOpened, PullRequestFailed,
    PermissionRequested, PermissionWithdrawn, PermissionAnswered, TaskContentRemoved,
)  # fmt: skip

ATTEMPTS: TypeAdapter[tuple[Attempt, ...]] = TypeAdapter(tuple[Attempt, ...])
PERMISSIONS: TypeAdapter[tuple[AskedPermission, ...]] = TypeAdapter(tuple[AskedPermission, ...])
PROGRESS = tuple(field.name for field in fields(TaskProgress))


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class TaskRow(Tables, table=True):
    """How far a task is: what changes. `position` is that of its submission."""

    __tablename__ = "task"
    __table_args__ = (
        Index("task_by_org", "org", "position"),
        Index("task_by_state", "org", "state", "position"),
    )
    task: str = Field(primary_key=True)
    org: str
    position: int = Field(sa_type=BigInteger)
    state: str
    reason: str | None
    detail: str | None
    attempt: int
    exit_code: int | None
    started_at: str | None
    finished_at: str | None
    decided: int | None = Field(sa_type=BigInteger)
    changed: int = Field(sa_type=BigInteger)
    attempts: list[Any] = Field(sa_type=JSONB)
    pull_request: dict[str, Any] | None = Field(sa_type=JSONB)
    permissions: list[Any] = Field(sa_type=JSONB)
    removed: list[Any] = Field(sa_type=JSONB)


class SubmissionRow(Tables, table=True):
    """What was submitted: never changes. `org` and `position` are those of the task, for lists by agent or by person."""

    __tablename__ = "submission"
    __table_args__ = (
        Index("submission_by_agent", "org", "agent", "position"),
        Index("submission_by_person", "org", "submitted_by", "position"),
    )
    task: str = Field(primary_key=True)
    org: str
    position: int = Field(sa_type=BigInteger)
    submitted_by: str
    team: str | None
    submitted_at: str
    agent: str
    prompt: dict[str, Any] = Field(sa_type=JSONB)
    repository: dict[str, Any] | None = Field(sa_type=JSONB)
    labels: dict[str, Any] | None = Field(sa_type=JSONB)
    max_attempts: int
    timeout_s: int | None
    priority: int


class EventRow(Tables, table=True):
    """An event that concerns a task, without its sealed texts."""

    __tablename__ = "event"
    task: str = Field(primary_key=True)
    position: int = Field(sa_type=BigInteger, primary_key=True)
    org: str
    event_id: str
    type: str
    version: int
    occurred_at: str
    data: dict[str, Any] = Field(sa_type=JSONB)


class TasksView(View):
    """Folds a batch with one read and one write of its tasks; what was submitted and the events are only added."""

    name: ClassVar[str] = "gateway_tasks"
    version: ClassVar[int] = 8
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(event.type for event in FOLDED)

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        submitted = [recorded for recorded in events if recorded.type == TaskSubmitted.type]
        concerned = {recorded.event.task for recorded in events}
        earlier = concerned - {recorded.event.task for recorded in submitted}
        rows = await load(connection, TaskRow, earlier)
        tasks = {task: progress_of(row) for task, row in rows.items()}
        index = []
        for recorded in events:
            event = recorded.event
            if recorded.type == TaskSubmitted.type:
                rows[event.task] = {"task": event.task, "org": event.org, "position": recorded.position}
                tasks[event.task] = TaskProgress(changed=recorded.position)
            elif event.task not in tasks or rows[event.task]["org"] != event.org:
                continue
            tasks[event.task] = evolve(
                tasks[event.task], event, position=recorded.position, occurred_at=recorded.occurred_at
            )
            index.append(_indexed(recorded))
        await upsert(connection, TaskRow, [row | _columns(tasks[task]) for task, row in rows.items()])
        if submitted:
            await append(connection, SubmissionRow, [_submission(recorded) for recorded in submitted])
        if index:
            await append(connection, EventRow, index)


def progress_of(row: dict[str, Any]) -> TaskProgress:
    """The progress in a row of `task`."""
    values = {name: row[name] for name in PROGRESS}
    pull_request = values["pull_request"]
    return TaskProgress(
        **values
        | {
            "attempts": ATTEMPTS.validate_python(values["attempts"]),
            "permissions": PERMISSIONS.validate_python(values["permissions"]),
            "removed": tuple(values["removed"]),
            "pull_request": PullRequest.model_validate(pull_request) if pull_request is not None else None,
        }
    )


def without_ciphertext(value: Any) -> Any:
    """JSON without its sealed texts: what is left of an event for those who can't open them."""
    if isinstance(value, dict):
        return {name: without_ciphertext(part) for name, part in value.items() if not _is_sealed(part)}
    if isinstance(value, list):
        return [without_ciphertext(part) for part in value if not _is_sealed(part)]
    return value


def _is_sealed(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"key", "box"}


def _columns(progress: TaskProgress) -> dict[str, Any]:
    values = {name: getattr(progress, name) for name in PROGRESS}
    pull_request = progress.pull_request
    return values | {
        "attempts": ATTEMPTS.dump_python(progress.attempts, mode="json"),
        "permissions": PERMISSIONS.dump_python(progress.permissions, mode="json"),
        "pull_request": pull_request.model_dump(mode="json") if pull_request is not None else None,
    }


def _submission(recorded: RecordedEvent) -> dict[str, Any]:
    event: TaskSubmitted = recorded.event
    return {
        "task": event.task,
        "org": event.org,
        "position": recorded.position,
        "submitted_by": event.user,
        "team": event.team,
        "submitted_at": recorded.occurred_at,
        "agent": event.agent,
        "prompt": event.prompt.model_dump(),
        "repository": event.repository.model_dump() if event.repository else None,
        "labels": event.labels.model_dump() if event.labels else None,
        "max_attempts": event.max_attempts,
        "timeout_s": event.timeout_s,
        "priority": event.priority,
    }


def _indexed(recorded: RecordedEvent) -> dict[str, Any]:
    return {
        "task": recorded.event.task,
        "position": recorded.position,
        "org": recorded.event.org,
        "event_id": recorded.event_id,
        "type": recorded.type,
        "version": recorded.version,
        "occurred_at": recorded.occurred_at,
        "data": without_ciphertext(orjson.loads(recorded.data)),
    }
