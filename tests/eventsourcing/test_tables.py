"""A view's tables: declared per view, written in bulk, read under their bare names."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import ARRAY, BigInteger, DateTime, Index, MetaData, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool, connect, create_schema
from remote_claude.eventsourcing.postgres.tables import append, delete, load, reading, upsert
from remote_claude.eventsourcing.views import View


class Tables(SQLModel, registry=registry()):
    """The tables of `Everything`."""


class ThingRow(Tables, table=True):
    """A column of every kind."""

    __tablename__ = "thing"
    __table_args__ = (Index("thing_by_when", "when"),)
    organisation: str = Field(primary_key=True)
    position: int = Field(sa_type=BigInteger, primary_key=True)
    big: int = Field(sa_type=BigInteger)
    money: Decimal = Field(sa_type=Numeric)
    when: datetime = Field(sa_type=DateTime(timezone=True))
    day: date
    id: UUID
    yes: bool
    sealed: bytes
    labels: dict[str, Any] = Field(sa_type=JSONB)
    names: list[str] = Field(sa_type=ARRAY(Text))
    note: str | None


class MarkRow(Tables, table=True):
    """A key and nothing else; an integer that comes from the events."""

    __tablename__ = "mark"
    position: int = Field(sa_type=BigInteger, primary_key=True)


class OtherTables(SQLModel, registry=registry()):
    """Another view's tables, under the same names."""


class OtherThingRow(OtherTables, table=True):
    """Has other columns."""

    __tablename__ = "thing"
    name: str = Field(primary_key=True)


class Everything(View):
    name, version = "test_everything", 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles = frozenset[str]()

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        raise NotImplementedError


class Other(Everything):
    name = "test_other"
    tables: ClassVar[MetaData] = OtherTables.metadata


def thing(position: int = 1, **columns: Any) -> dict[str, Any]:
    return {
        "organisation": 'a "quoted" \\ one',
        "position": position,
        "big": 2**62,
        "money": Decimal("12345678901234567890.123456789"),
        "when": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "id": UUID(int=7),
        "yes": True,
        "sealed": b"\x00\xff\\x",
        "labels": {"ä": [1, None, {"b": "\n"}]},
        "names": ["one", 'two, "2"', ""],
        "note": None,
    } | columns


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[AsyncConnection[Any]]:
    async with connect(pool, "test_everything") as connection:
        await create_schema(connection, "test_everything", Everything())
        yield connection


async def test_values_of_every_type_come_back_as_they_went(connection: AsyncConnection[Any]) -> None:
    row = thing()
    for write in (upsert, append):
        await write(connection, ThingRow, [row])
        assert await load(connection, ThingRow, [(row["organisation"], 1)]) == {(row["organisation"], 1): row}
        await delete(connection, ThingRow, [(row["organisation"], 1)])


async def test_an_upsert_writes_each_key_once_and_the_last_of_several(
    connection: AsyncConnection[Any],
) -> None:
    await upsert(connection, ThingRow, [thing(1, note="old"), thing(2, note="old")])
    await upsert(connection, ThingRow, [thing(1, note="lost"), thing(3), thing(1, note="new")])
    rows = await load(connection, ThingRow, {(thing()["organisation"], n) for n in range(9)})
    assert {key[1]: row["note"] for key, row in rows.items()} == {1: "new", 2: "old", 3: None}


async def test_a_key_alone_is_a_row(connection: AsyncConnection[Any]) -> None:
    await upsert(connection, MarkRow, [{"position": n} for n in (1, 2, 3)])
    await upsert(connection, MarkRow, [{"position": n} for n in (3, 4)])
    await delete(connection, MarkRow, [1, 9])
    assert sorted(await load(connection, MarkRow, range(10))) == [2, 3, 4]


async def test_appending_a_key_twice_is_an_error(connection: AsyncConnection[Any]) -> None:
    await append(connection, MarkRow, [{"position": 1}])
    with pytest.raises(psycopg.errors.UniqueViolation):
        await append(connection, MarkRow, [{"position": 1}])


async def test_nothing_to_write_is_nothing(connection: AsyncConnection[Any]) -> None:
    for write in (upsert, append, delete, load):
        assert not await write(connection, MarkRow, [])


async def test_a_row_without_a_column_is_refused(connection: AsyncConnection[Any]) -> None:
    row = thing()
    del row["note"], row["big"]
    for write in (upsert, append):
        with pytest.raises(KeyError, match="a row without big, note"):
            await write(connection, ThingRow, [row])
    with pytest.raises(TypeError, match="not JSON serializable: object"):
        await upsert(connection, ThingRow, [thing(note=object())])


async def test_the_schema_has_no_sequence_and_the_declared_index(connection: AsyncConnection[Any]) -> None:
    found = await connection.execute(
        "SELECT relkind::text, relname::text FROM pg_class WHERE relnamespace = 'test_everything'::regnamespace"
        " AND relkind <> 'r' ORDER BY 2"
    )
    assert await found.fetchall() == [
        ("i", "mark_pkey"), ("i", "parked_pkey"), ("i", "thing_by_when"), ("i", "thing_pkey"),
    ]  # fmt: skip


async def test_queries_find_the_view_by_bare_names(pool: Pool, connection: AsyncConnection[Any]) -> None:
    await upsert(connection, ThingRow, [thing(1), thing(2, note="two")])
    async with reading(pool, Everything, org=None) as reader:
        rows = await (await reader.execute("SELECT position FROM thing ORDER BY position")).fetchall()
        assert rows == [{"position": 1}, {"position": 2}]


async def test_reading_writes_nothing_and_leaves_the_pooled_connection_as_it_was(
    pool: Pool, connection: AsyncConnection[Any]
) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        async with reading(pool, Everything, org=None) as reader:
            await upsert(reader, MarkRow, [{"position": 1}])
    async with pool.connection() as pooled:
        assert await (await pooled.execute("SELECT 1")).fetchone() == (1,)
        assert await (await pooled.execute("SHOW search_path")).fetchone() == ('"$user", public',)
        assert pooled.prepare_threshold == 5


async def test_two_views_may_give_the_same_query_other_tables(
    pool: Pool, connection: AsyncConnection[Any]
) -> None:
    await create_schema(connection, "test_other", Other())
    await upsert(connection, ThingRow, [thing()])
    for _ in range(20):
        for view, columns in ((Everything, 12), (Other, 0)):
            async with reading(pool, view, org=None) as reader:
                rows = await (await reader.execute("SELECT * FROM thing")).fetchall()
                assert sum(len(row) for row in rows) == columns


@pytest.mark.parametrize("ticks", range(12))
async def test_who_is_cancelled_while_the_pool_hands_over_reads_nothing(
    postgres_dsn: str, connection: AsyncConnection[Any], ticks: int
) -> None:
    """On Python 3.11 `asyncio.wait_for`, with which the pool waits, loses a cancellation at one of these ticks."""

    async def read() -> None:
        async with reading(small, Everything, org=None):
            await asyncio.Event().wait()

    async with AsyncConnectionPool(postgres_dsn, min_size=1, max_size=1, open=False) as small:
        async with small.connection():
            reader = asyncio.create_task(read())
            for _ in range(5):
                await asyncio.sleep(0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        reader.cancel()
        done, _ = await asyncio.wait([reader], timeout=10)
        cancelled = reader in done and reader.cancelled()
        reader.cancel()
        assert cancelled
