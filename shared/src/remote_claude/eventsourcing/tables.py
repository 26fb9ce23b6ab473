"""How a view declares its tables, writes them in bulk, and is read.

A view's tables are SQLModel classes under a base of their own, so that each view has its own `MetaData`:

    class QueueTables(SQLModel, registry=registry()):  # from sqlalchemy.orm
        pass

    class TaskRow(QueueTables, table=True):
        __tablename__ = "task"
        organisation: str = Field(primary_key=True)
        task: str = Field(primary_key=True)
        state: str
        spent: int = Field(sa_type=BigInteger)
        labels: dict[str, str] = Field(sa_type=JSONB)

    class QueueView(View):
        name, version = "scheduler_queue", 1
        tables = QueueTables.metadata
        handles = frozenset({"TaskAdmitted", "TaskAssigned"})

        async def apply(self, connection, events):
            tasks = await load(connection, TaskRow, {(e.organisation, e.subject) for e in events})
            ...  # fold in Python
            await upsert(connection, TaskRow, tasks.values())

Every table has a primary key that comes from the events; lists and mappings are JSONB. Queries are plain SQL or
a `select`, with unqualified names, inside `reading(pool, view)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import ARRAY, JSON, Column, Select, Table
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect
from sqlmodel import SQLModel

from remote_claude.eventsourcing.schemas import Pool
from remote_claude.eventsourcing.views import View

Row = dict[str, Any]
_DIALECT: Any = cast(Any, psycopg_dialect)()


async def upsert(
    connection: AsyncConnection[Any], model: type[SQLModel], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write whole rows, one for each key: the last of several. One statement, whatever their number."""
    write = _statements(model)
    latest = {tuple([row[name] for name in write.key]): row for row in rows}
    if latest:
        await connection.execute(write.upsert, write.columns(latest.values()))


async def delete(connection: AsyncConnection[Any], model: type[SQLModel], keys: Iterable[Hashable]) -> None:
    """Delete by primary key: a value each, or a tuple where the key has several columns."""
    write = _statements(model)
    if found := [write.as_row(key) for key in keys]:
        await connection.execute(write.delete, write.columns(found))


async def load(
    connection: AsyncConnection[Any], model: type[SQLModel], keys: Iterable[Hashable]
) -> dict[Any, Row]:
    """The rows that are there, by key: a value each, or a tuple where the key has several columns."""
    write = _statements(model)
    wanted = [write.as_row(key) for key in keys]
    if not wanted:
        return {}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(write.load, write.columns(wanted))
        rows = await cursor.fetchall()
    if len(write.key) == 1:
        return {row[write.key[0]]: row for row in rows}
    return {tuple([row[name] for name in write.key]): row for row in rows}


async def append(
    connection: AsyncConnection[Any], model: type[SQLModel], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Add rows that are not there yet, by COPY: the fastest way. A key that is there already is an error."""
    write = _statements(model)
    async with connection.cursor() as cursor, cursor.copy(write.copy) as copy:
        for row in rows:
            await copy.write_row([write.value(name, row[name]) for name in write.names])


@asynccontextmanager
async def reading(pool: Pool, view: View | type[View]) -> AsyncIterator[AsyncConnection[Row]]:
    """A read-only transaction that finds the view's tables by their bare names and gives rows as dicts.

    What is read is at least as new as `Projector.position` was before. Statements are not prepared here: two views
    may have the same text on different tables, and a rebuild may change a table's columns.
    """
    async with pool.connection() as pooled:
        connection = cast(AsyncConnection[Row], pooled)
        before = pooled.row_factory, pooled.prepare_threshold
        async with pooled.transaction():
            await pooled.execute(
                "SELECT set_config('search_path', %s, true), set_config('transaction_read_only', 'on', true)",
                [f'"{view.name}"'],
                prepare=True,
            )
            connection.row_factory, connection.prepare_threshold = dict_row, None
            try:
                yield connection
            finally:
                pooled.row_factory, pooled.prepare_threshold = before


async def select_rows(connection: AsyncConnection[Row], statement: Select[Any]) -> list[Row]:
    """What a SQLModel or SQLAlchemy `select` finds, as dicts; `TaskRow(**row)` makes an object of one."""
    compiled = statement.compile(dialect=_DIALECT)
    found = await connection.execute(cast(Any, str(compiled)), compiled.params)
    return await found.fetchall()


@dataclass(frozen=True, slots=True)
class _Statements:
    """The bulk statements of one table, and how values become their parameters: an array for each column."""

    names: Sequence[str]
    key: Sequence[str]
    json: frozenset[str]
    upsert: Composed
    delete: Composed
    load: Composed
    copy: Composed

    def as_row(self, key: Any) -> Row:
        return dict(zip(self.key, (key,) if len(self.key) == 1 else key, strict=True))

    def columns(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
        rows = list(rows)
        names = [name for name in self.names if name in rows[0]]
        return {
            name: [self.value(name, row[name]) for row in rows]
            if name in self.json
            else [row[name] for row in rows]
            for name in names
        }

    def value(self, name: str, value: Any) -> Any:
        return orjson.dumps(value).decode() if name in self.json and value is not None else value


@lru_cache(maxsize=256)
def _statements(model: type[SQLModel]) -> _Statements:
    table = model.metadata.tables[str(model.__tablename__)]
    columns, key = list(table.columns), list(table.primary_key)
    if not key:
        raise TypeError(f"table {table.name} of {model.__name__} has no primary key")
    names = [Identifier(column.name) for column in columns]
    keys = SQL(", ").join(Identifier(column.name) for column in key)
    others = [Identifier(column.name) for column in columns if not column.primary_key]
    changes = SQL("UPDATE SET {}").format(SQL(", ").join(SQL("{0} = excluded.{0}").format(n) for n in others))
    name = Identifier(table.name)
    return _Statements(
        names=[column.name for column in columns],
        key=[column.name for column in key],
        json=frozenset(column.name for column in columns if isinstance(column.type, JSON)),
        upsert=SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) DO {}").format(
            name,
            SQL(", ").join(names),
            SQL(", ").join(_from_array(column) for column in columns),
            _arrays(table, columns),
            keys,
            changes if others else SQL("NOTHING"),
        ),
        delete=SQL("DELETE FROM {} WHERE ({}) IN (SELECT * FROM {})").format(name, keys, _arrays(table, key)),
        load=SQL("SELECT * FROM {} WHERE ({}) IN (SELECT * FROM {})").format(name, keys, _arrays(table, key)),
        copy=SQL("COPY {} ({}) FROM STDIN").format(name, SQL(", ").join(names)),
    )


def _arrays(table: Table, columns: Sequence[Column[Any]]) -> Composed:
    """`unnest(%(a)s::TEXT[], %(b)s::BIGINT[]) AS new(a, b)`"""
    for column in columns:
        if isinstance(column.type, ARRAY):
            raise TypeError(f"{table.name}.{column.name} is an array: declare lists as JSONB")
    arrays = [SQL(cast(Any, f"%({column.name})s::{_array_type(column)}[]")) for column in columns]
    names = SQL(", ").join(Identifier(column.name) for column in columns)
    return SQL("unnest({}) AS new({})").format(SQL(", ").join(arrays), names)


def _array_type(column: Column[Any]) -> str:
    return "text" if isinstance(column.type, JSON) else column.type.compile(_DIALECT)


def _from_array(column: Column[Any]) -> Composed:
    pattern = "new.{}::jsonb" if isinstance(column.type, JSON) else "new.{}"
    return SQL(cast(Any, pattern)).format(Identifier(column.name))
