"""The view `gateway_contents`: which objects each task refers to, and when it ended. Says what is due to be removed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, LiteralString

from psycopg import AsyncConnection
from psycopg.sql import SQL
from psycopg.types.json import Jsonb
from sqlalchemy import Index, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts.gateway import (
    BundleRepository,
    ContentKind,
    TaskContentRemoved,
    TaskSubmitted,
)
from remote_claude.contracts.runner import AttemptFinished, CheckpointSaved
from remote_claude.contracts.scheduler import (
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import TableRow, add, load, reading, upsert
from remote_claude.eventsourcing.views import View

UPLOAD = "upload"
"""The kind of what was uploaded with a task. It is kept."""
ENDS = (TaskSucceeded, TaskFailed, TaskCancelled, TaskTimedOut, TaskRejected)

DUE = """
SELECT task, removed FROM ended WHERE org = %(org)s AND finished_at < %(latest)s AND EXISTS (
    SELECT FROM jsonb_each_text(%(cutoffs)s) AS c WHERE finished_at < c.value AND NOT removed ? c.key
) ORDER BY finished_at, task
"""
KEPT: LiteralString = """
SELECT DISTINCT c.sha256 FROM content c LEFT JOIN ended e ON e.task = c.task WHERE c.org = %(org)s AND {}
AND (e.task IS NULL OR e.finished_at >= coalesce(%(cutoffs)s ->> c.kind, ''))
"""


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class ContentRow(Tables, table=True):
    """An object that a task refers to; of a checkpoint, its manifest."""

    __tablename__ = "content"
    __table_args__ = (Index("content_by_task", "task", "kind"),)
    org: str = Field(primary_key=True)
    sha256: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)


class EndedRow(Tables, table=True):
    """A task that has ended, and the kinds of its content that are removed."""

    __tablename__ = "ended"
    __table_args__ = (Index("ended_by_org", "org", "finished_at"),)
    task: str = Field(primary_key=True)
    org: str
    finished_at: str
    removed: list[Any] = Field(sa_type=JSONB)


class ContentsView(View):
    """Folds references and ends."""

    name: ClassVar[str] = "gateway_contents"
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        e.type for e in (TaskSubmitted, AttemptFinished, CheckpointSaved, TaskContentRemoved, *ENDS)
    )

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        found: list[dict[str, Any]] = []
        ended = await load(connection, EndedRow, {r.event.task for r in events})
        removed: list[TaskContentRemoved] = []
        for recorded in events:
            event = recorded.event
            match event:
                case TaskContentRemoved():
                    removed.append(event)
                    if (row := ended.get(event.task)) is not None:
                        row["removed"] = [*row["removed"], *event.kinds]
                case TaskSubmitted() | AttemptFinished() | CheckpointSaved():
                    found += [
                        {"org": event.org, "sha256": sha256, "task": event.task, "kind": kind}
                        for kind, sha256 in _references(event)
                    ]
                case _ if event.task not in ended:
                    ended[event.task] = {
                        "task": event.task,
                        "org": event.org,
                        "finished_at": recorded.occurred_at,
                        "removed": [],
                    }
        await add(connection, ContentRow, found)
        await upsert(connection, EndedRow, ended.values())
        for event in removed:
            await connection.execute(
                "DELETE FROM content WHERE task = %s AND kind = ANY (%s)", [event.task, list(event.kinds)]
            )


def _references(event: TaskSubmitted | AttemptFinished | CheckpointSaved) -> list[tuple[str, str]]:
    match event:
        case TaskSubmitted():
            bundle = event.repository.sha256 if isinstance(event.repository, BundleRepository) else None
            named: list[tuple[str, str | None]] = [(UPLOAD, bundle), (UPLOAD, event.checkpoint)]
        case CheckpointSaved():
            named = [("checkpoints", event.manifest)]
        case AttemptFinished():
            result = event.result
            objects = (result.bundle, result.patch, result.artifacts) if result else ()
            named = [("output", event.output.sha256 if event.output else None)]
            named += [("artifacts", sha256) for sha256 in objects]
    return [(kind, sha256) for kind, sha256 in named if sha256 is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueContent:
    """A task whose content of these kinds is due, with the objects by kind; of a checkpoint, the manifests."""

    task: str
    objects: Mapping[ContentKind, Sequence[str]]


async def organisations(pool: Pool) -> list[str]:
    """Those with tasks that have ended."""
    async with reading(pool, ContentsView, org=None) as connection:
        found = await connection.execute("SELECT DISTINCT org FROM ended ORDER BY org")
        return [row["org"] for row in await found.fetchall()]


async def due(pool: Pool, org: str, cutoffs: Mapping[ContentKind, str]) -> list[DueContent]:
    """The tasks of an organisation with content that is due, the earliest end first."""
    if not cutoffs:
        return []
    async with reading(pool, ContentsView, org=None) as connection:
        parameters = {"org": org, "latest": max(cutoffs.values()), "cutoffs": Jsonb(cutoffs)}
        rows = await (await connection.execute(DUE, parameters)).fetchall()
        ends = await (
            await connection.execute(
                "SELECT e.task, e.finished_at, c.kind, c.sha256 FROM ended e LEFT JOIN content c USING (task)"
                " WHERE e.task = ANY (%s) ORDER BY c.sha256",
                [[row["task"] for row in rows]],
            )
        ).fetchall()
    objects: dict[str, dict[ContentKind, list[str]]] = {}
    for row, kind in ((row, kind) for row in ends for kind in cutoffs if row["finished_at"] < cutoffs[kind]):
        of_kind = objects.setdefault(row["task"], {}).setdefault(kind, [])
        if row["kind"] == kind:
            of_kind.append(row["sha256"])
    return [
        DueContent(
            task=row["task"],
            objects={k: v for k, v in objects[row["task"]].items() if k not in row["removed"]},
        )
        for row in rows
    ]


async def still_needed(
    pool: Pool, org: str, sha256s: Collection[str], cutoffs: Mapping[ContentKind, str]
) -> set[str]:
    """Which of these objects a task refers to whose content is not due."""
    parameters = {"org": org, "sha256s": list(sha256s), "cutoffs": Jsonb(cutoffs)}
    return await _kept(pool, "c.sha256 = ANY (%(sha256s)s)", parameters)


async def kept_manifests(pool: Pool, org: str, cutoffs: Mapping[ContentKind, str]) -> set[str]:
    """The manifests of the checkpoints of an organisation that are not due."""
    return await _kept(pool, "c.kind = 'checkpoints'", {"org": org, "cutoffs": Jsonb(cutoffs)})


async def _kept(pool: Pool, which: LiteralString, parameters: Mapping[str, Any]) -> set[str]:
    async with reading(pool, ContentsView, org=None) as connection:
        found = await connection.execute(SQL(KEPT).format(SQL(which)), parameters)
        return {row["sha256"] for row in await found.fetchall()}
