"""The view `runner_pull_requests`: which tasks end with a pull request, and which of those are to be opened now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import Index, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts.gateway import PullRequestRequested, TaskSubmitted
from remote_claude.contracts.runner import PullRequestEvent, PullRequestFailed, PullRequestOpened
from remote_claude.contracts.scheduler import (
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.eventsourcing.events import RecordedEvent, stream_id
from remote_claude.eventsourcing.postgres.outbox_table import EffectChanges, OutboxRow, effect
from remote_claude.eventsourcing.postgres.tables import TableRow, append, delete
from remote_claude.eventsourcing.views import View


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class WantedRow(Tables, table=True):
    """A task that has not ended and asks for a pull request."""

    __tablename__ = "wanted"
    task: str = Field(primary_key=True)


class OpeningRow(OutboxRow, Tables, table=True):
    """A pull request to open. Its lane is the task."""

    __tablename__ = "opening"
    __table_args__ = (Index("opening_by_lane", "lane", "position"),)


class PullRequestsView(View):
    """Folds submissions, ends and outcomes."""

    name: ClassVar[str] = "runner_pull_requests"
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        event.type
        for event in (
            TaskSubmitted,
            PullRequestRequested,
            PullRequestOpened,
            PullRequestFailed,
            TaskSucceeded,
            TaskFailed,
            TaskCancelled,
            TaskTimedOut,
            TaskRejected,
        )
    )
    pace: ClassVar[float] = 0.1  # as often as the outbox looks

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        ended = [
            r.event.task for r in events if r.type not in (TaskSubmitted.type, PullRequestRequested.type)
        ]
        wanted = await _wanted(connection, ended)
        new_wanted: set[str] = set()
        openings = EffectChanges(OpeningRow)
        for recorded in events:
            match recorded.event:
                case TaskSubmitted() as submitted:
                    if submitted.pull_request is not None:
                        new_wanted.add(submitted.task)
                case PullRequestRequested():
                    openings.add(_opening(recorded))
                case PullRequestEvent():
                    openings.settle(recorded)
                case end:
                    if end.task in wanted | new_wanted and recorded.type == TaskSucceeded.type:
                        openings.add(_opening(recorded))
                    new_wanted.discard(end.task)
        await delete(connection, WantedRow, sorted(wanted))
        await append(connection, WantedRow, [{"task": task} for task in sorted(new_wanted)])
        await openings.write(connection)


async def _wanted(connection: AsyncConnection[Any], tasks: Sequence[str]) -> set[str]:
    """Which of these tasks, which end now, ask for a pull request."""
    if not tasks:
        return set()
    found = await connection.execute("SELECT task FROM wanted WHERE task = ANY (%s)", [list(tasks)])
    return {row[0] for row in await found.fetchall()}


def _opening(recorded: RecordedEvent) -> dict[str, Any]:
    event = recorded.event
    stream = stream_id("runner", event.org, "pull_request", event.task)
    payload = {"task": event.task, "org": event.org, "attempt": event.attempt}
    return effect(recorded, "open a pull request", lane=event.task, stream=stream, payload=payload)
