"""The view `runner_threads`: tasks that a comment or a label has started, and which comments on their threads are to be made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import Index, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import (
    PullRequestFailed,
    PullRequestOpened,
    TaskStarted,
    ThreadCommented,
    ThreadCommentFailed,
    ThreadEvent,
)
from remote_claude.contracts.scheduler import (
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.eventsourcing.events import RecordedEvent, stream_id
from remote_claude.eventsourcing.postgres.outbox_table import EffectChanges, OutboxRow, effect
from remote_claude.eventsourcing.postgres.tables import TableRow, delete, load, upsert
from remote_claude.eventsourcing.views import View

STATES = {
    TaskSucceeded.type: "succeeded",
    TaskFailed.type: "failed",
    TaskCancelled.type: "cancelled",
    TaskTimedOut.type: "timed_out",
    TaskRejected.type: "rejected",
}


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class ThreadRow(Tables, table=True):
    """A task with a thread whose end is not commented yet. `ended`: it has succeeded, its pull request is awaited."""

    __tablename__ = "thread"
    task: str = Field(primary_key=True)
    pull_request: bool
    started: str | None
    ended: bool


class CommentRow(OutboxRow, Tables, table=True):
    """A comment to make. Its lane is the task."""

    __tablename__ = "comment"
    __table_args__ = (Index("comment_by_lane", "lane", "position"),)


class ThreadsView(View):
    """Folds submissions, starts, ends and outcomes. The end of a task with a pull request waits for that."""

    name: ClassVar[str] = "runner_threads"
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        {e.type for e in (TaskSubmitted, TaskStarted, PullRequestOpened, PullRequestFailed)}
        | {ThreadCommented.type, ThreadCommentFailed.type, *STATES}
    )
    pace: ClassVar[float] = 0.1  # as often as the outbox looks

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        concerned = sorted({recorded.event.task for recorded in events})
        threads = await load(connection, ThreadRow, concerned)
        known = set(threads)
        comments = EffectChanges(CommentRow)
        for recorded in events:
            event, thread = recorded.event, threads.get(recorded.event.task)
            match event:
                case TaskSubmitted():
                    if event.thread is not None:
                        threads[event.task] = {
                            "task": event.task,
                            "pull_request": event.pull_request is not None,
                            "started": None,
                            "ended": False,
                        }
                case ThreadEvent():
                    comments.settle(recorded)
                case TaskStarted() if thread is not None and thread["started"] is None:
                    row = _comment(recorded, "started")
                    thread["started"] = row["key"]
                    comments.add(row)
                case PullRequestOpened() | PullRequestFailed() if thread is not None and thread["ended"]:
                    comments.add(_comment(recorded, "ended", after=thread["started"], state="succeeded"))
                    del threads[event.task]
                case TaskSucceeded() if thread is not None and thread["pull_request"]:
                    thread["ended"] = True
                case _ if thread is not None and recorded.type in STATES:
                    state = STATES[recorded.type]
                    comments.add(_comment(recorded, "ended", after=thread["started"], state=state))
                    del threads[event.task]
        await upsert(connection, ThreadRow, threads.values())
        await delete(connection, ThreadRow, sorted(known - threads.keys()))
        await comments.write(connection)


def _comment(recorded: RecordedEvent, comment: str, **more: str | None) -> dict[str, Any]:
    """Of the end: `after` is the key of the comment that goes before it, `state` what the task came to."""
    event = recorded.event
    stream = stream_id("runner", event.org, "thread", event.task)
    payload = {"task": event.task, "org": event.org, "comment": comment, **more}
    return effect(recorded, "comment", lane=event.task, stream=stream, payload=payload)
