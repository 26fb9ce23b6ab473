"""The view `gateway_batches`: batches, and which of their items have a task. How far a task is, `gateway_tasks` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import BigInteger, Index, MetaData, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from remote_claude.contracts.gateway import (
    BatchCancellationRequested,
    BatchEnded,
    BatchItemRefused,
    BatchSubmitted,
    TaskSubmitted,
)
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.tables import load, upsert
from remote_claude.eventsourcing.views import View


class Tables(SQLModel, registry=registry()):
    """The tables of this view, apart from every other view's."""


class BatchRow(Tables, table=True):
    """A batch. `position` is that of its submission, `outcome` is None until it has ended."""

    __tablename__ = "batch"
    __table_args__ = (
        Index("batch_by_org", "org", "position"),
        Index("batch_running", "batch", postgresql_where=text("outcome IS NULL")),
    )
    batch: str = Field(primary_key=True)
    org: str
    position: int = Field(sa_type=BigInteger)
    created_by: str
    created_at: str
    name: dict[str, Any] = Field(sa_type=JSONB)
    items: str
    size: int
    max_parallel: int | None
    stop_on_failure: bool
    cancelled: bool
    outcome: str | None
    ended_at: str | None


class ItemRow(Tables, table=True):
    """An item that has a task, or was refused."""

    __tablename__ = "item"
    batch: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    org: str
    task: str | None
    reason: str | None
    detail: dict[str, Any] | None = Field(sa_type=JSONB)


class BatchesView(View):
    """Folds batches, and the tasks that they have started."""

    name: ClassVar[str] = "gateway_batches"
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        event.type
        for event in (BatchSubmitted, BatchItemRefused, BatchCancellationRequested, BatchEnded, TaskSubmitted)
    )

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        concerned = {name for recorded in events if (name := _batch(recorded.event)) is not None}
        if not concerned:
            return
        batches = await load(connection, BatchRow, concerned)
        items = []
        for recorded in events:
            match recorded.event:
                case BatchSubmitted() as submitted:
                    batches[submitted.batch] = _row(submitted, recorded)
                case BatchCancellationRequested(batch=batch) if batch in batches:
                    batches[batch] |= {"cancelled": True}
                case BatchEnded(batch=batch, outcome=outcome) if batch in batches:
                    batches[batch] |= {"outcome": outcome, "ended_at": recorded.occurred_at}
                case BatchItemRefused() as refused:
                    items.append(_refused(refused))
                case TaskSubmitted(started_by=str(batch), batch_item=int(number)) as task:
                    items.append(_item(batch, number, task.org) | {"task": task.task})
        await upsert(connection, BatchRow, batches.values())
        await upsert(connection, ItemRow, items)


def _batch(event: Any) -> str | None:
    if isinstance(event, TaskSubmitted):
        return event.started_by if event.batch_item is not None else None
    found: str = event.batch
    return found


def _row(submitted: BatchSubmitted, recorded: RecordedEvent) -> dict[str, Any]:
    return {
        "batch": submitted.batch,
        "org": submitted.org,
        "position": recorded.position,
        "created_by": submitted.user,
        "created_at": recorded.occurred_at,
        "name": submitted.name.model_dump(),
        "items": submitted.items,
        "size": submitted.size,
        "max_parallel": submitted.max_parallel,
        "stop_on_failure": submitted.stop_on_failure,
        "cancelled": False,
        "outcome": None,
        "ended_at": None,
    }


def _item(batch: str, number: int, org: str) -> dict[str, Any]:
    return {"batch": batch, "number": number, "org": org, "task": None, "reason": None, "detail": None}


def _refused(event: BatchItemRefused) -> dict[str, Any]:
    detail = event.detail.model_dump() if event.detail is not None else None
    return _item(event.batch, event.item, event.org) | {"reason": event.reason, "detail": detail}
