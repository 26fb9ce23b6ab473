"""The view `gateway_shares`: the links with which tasks may be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from remote_claude.contracts.gateway import TaskShared, TaskUnshared
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import delete, load, reading, upsert
from remote_claude.eventsourcing.views import View


class Tables(SQLModel, registry=registry()):
    """The tables of this view, apart from every other view's."""


class ShareRow(Tables, table=True):
    """A link, until it is revoked."""

    __tablename__ = "share"
    share: str = Field(primary_key=True)
    org: str = Field(index=True)
    task: str = Field(index=True)
    created_by: str
    created_at: str
    expires_at: str
    secret_hash: str


class SharesView(View):
    """Folds the links of all tasks."""

    name: ClassVar[str] = "gateway_shares"
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset((TaskShared.type, TaskUnshared.type))
    pace: ClassVar[float] = 0.1

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        concerned = sorted({recorded.event.share for recorded in events})
        rows = await load(connection, ShareRow, concerned)
        for recorded in events:
            match recorded.event:
                case TaskShared() as shared:
                    rows[shared.share] = {
                        **shared.model_dump(include={"share", "org", "task", "expires_at", "secret_hash"}),
                        "created_by": shared.user,
                        "created_at": recorded.occurred_at,
                    }
                case TaskUnshared(share=name):
                    rows.pop(name, None)
        await upsert(connection, ShareRow, rows.values())
        await delete(connection, ShareRow, sorted(set(concerned) - rows.keys()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A link as the view has it. Times are RFC 3339 in UTC."""

    share: str
    org: str
    task: str
    created_by: str
    created_at: str
    expires_at: str
    secret_hash: str


async def shares(pool: Pool, org: str, task: str) -> list[Share]:
    """Those of a task, the oldest first."""
    async with reading(pool, SharesView, org=org) as connection:
        found = await connection.execute(
            "SELECT * FROM share WHERE org = %s AND task = %s ORDER BY share", [org, task]
        )
        return [Share(**row) for row in await found.fetchall()]


async def find(pool: Pool, share: str) -> Share | None:
    """One, of whatever organisation: its secret shows that it may be read."""
    async with reading(pool, SharesView, org=None) as connection:
        found = await connection.execute("SELECT * FROM share WHERE share = %s", [share])
        row = await found.fetchone()
        return Share(**row) if row is not None else None
