"""Which attempts each runner holds: what a runner that starts again has to give back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts.runner import AssignmentDeclined, AttemptFinished
from remote_claude.contracts.scheduler import (
    RunnerLost,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.tables import TableRow, add, delete
from remote_claude.eventsourcing.views import View


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class Held(Tables, table=True):
    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    runner: str = Field(index=True)
    cause: str
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class AssignedAttempt:
    """An attempt, the id of the event that assigned it, and the trace that it belongs to."""

    org: str
    task: str
    attempt: int
    cause: str
    traceparent: str | None


ENDS = (
    AttemptFinished,
    AssignmentDeclined,
    RunnerLost,
    TaskSucceeded,
    TaskFailed,
    TaskCancelled,
    TaskTimedOut,
)


Attempt = tuple[str, str, int]
Assignment = tuple[str, str, str | None]


def changes(events: Sequence[RecordedEvent]) -> tuple[dict[Attempt, Assignment], list[Attempt]]:
    """The attempts that begin with these events and still go on after them: to whom, by which event, in which trace.
    And those that end with them."""
    begun: dict[Attempt, Assignment] = {}
    ended: list[Attempt] = []
    for recorded in events:
        event = recorded.event
        if isinstance(event, TaskAssigned):
            key = event.org, event.task, event.attempt
            begun[key] = event.runner, recorded.event_id, recorded.traceparent
        elif event.attempt is not None:
            key = event.org, event.task, event.attempt
            begun.pop(key, None)
            ended.append(key)
    return begun, ended


class HeldView(View):
    """Folds assignments and their ends."""

    name: ClassVar[str] = "runner_held"
    version: ClassVar[int] = 2
    tables = Tables.metadata
    handles = frozenset(e.type for e in (TaskAssigned, *ENDS))
    pace = 0.1  # read by a runner that starts, and by nobody else

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        begun, ended = changes(events)
        await delete(connection, Held, ended)
        rows = [(*attempt, *assignment) for attempt, assignment in begun.items()]
        await add(connection, Held, [dict(zip(Held.model_fields, row, strict=True)) for row in rows])


async def held_by(connection: AsyncConnection[Any], runner: str) -> list[AssignedAttempt]:
    """The attempts that a runner has been assigned and has not ended."""
    cursor = await connection.execute(
        "SELECT org, task, attempt, cause, traceparent FROM runner_held.held WHERE runner = %s ORDER BY task",
        (runner,),
    )
    return [AssignedAttempt(*row) for row in await cursor.fetchall()]
