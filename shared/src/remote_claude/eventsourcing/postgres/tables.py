"""How a view declares its tables, writes them in bulk, and is read.

A view's tables are SQLModel classes under a base of their own, derived from `TableRow`, so that each view has its own `MetaData`:

    class QueueTables(TableRow, registry=registry()):  # from sqlalchemy.orm
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

Every table has a primary key that comes from the events. Queries are plain SQL or
a `select`, with unqualified names, inside `reading(pool, view, org=...)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, LiteralString, cast

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlmodel import SQLModel

from remote_claude.eventsourcing.postgres.isolation import role_of
from remote_claude.eventsourcing.postgres.schemas import Pool, borrow, query_connection
from remote_claude.eventsourcing.views import View

Row = dict[str, Any]


class TableRow(SQLModel):
    """The base of every view's tables. A row is never validated, so pydantic builds no validator for it."""

    model_config = {"defer_build": True}


async def upsert(
    connection: AsyncConnection[Any], model: type[SQLModel], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write whole rows, one for each key: the last of several. One statement, whatever their number."""
    table = _statements(model)
    latest = {tuple([row[name] for name in table.key]): row for row in rows}
    if latest:
        await connection.execute(table.upsert, [table.dump(latest.values())])


async def append(
    connection: AsyncConnection[Any], model: type[SQLModel], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Add whole rows. A key that is there already is an error. One statement, whatever their number."""
    table = _statements(model)
    if found := list(rows):
        await connection.execute(table.append, [table.dump(found)])


async def add(
    connection: AsyncConnection[Any], model: type[SQLModel], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Add whole rows whose key is not there yet: of several, the first is kept. One statement, whatever their number."""
    table = _statements(model)
    if found := list(rows):
        await connection.execute(table.add, [table.dump(found)])


async def delete(connection: AsyncConnection[Any], model: type[SQLModel], keys: Iterable[Hashable]) -> None:
    """Delete by primary key: a value each, or a tuple where the key has several columns."""
    table = _statements(model)
    if wanted := table.dump_keys(keys):
        await connection.execute(table.delete, [wanted])


async def load(
    connection: AsyncConnection[Any], model: type[SQLModel], keys: Iterable[Hashable]
) -> dict[Any, Row]:
    """The rows that are there, by key: a value each, or a tuple where the key has several columns."""
    table = _statements(model)
    wanted = table.dump_keys(keys)
    if not wanted:
        return {}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(table.load, [wanted])
        rows = await cursor.fetchall()
    if len(table.key) == 1:
        return {row[table.key[0]]: row for row in rows}
    return {tuple([row[name] for name in table.key]): row for row in rows}


@asynccontextmanager
async def reading(
    pool: Pool, view: View | type[View], *, org: str | None
) -> AsyncIterator[AsyncConnection[Row]]:
    """A read-only transaction that finds the view's tables by their bare names and gives rows as dicts.

    It sees the rows of one organisation; with `org=None` those of all.

    What is read is at least as new as `Projector.position` was before. Statements are not prepared here: two views
    may have the same text on different tables, and a rebuild may change a table's columns.
    """
    async with borrow(pool) as pooled:
        connection = cast(AsyncConnection[Row], pooled)
        before = pooled.row_factory, pooled.prepare_threshold
        async with pooled.transaction():
            await pooled.execute(
                "SELECT set_config('search_path', %s, true), set_config('transaction_read_only', 'on', true),"
                " set_config('rclaude.org', %s, true), set_config('role', %s, true)",
                [f'"{view.name}"', org or "", "none" if org is None else role_of(view.name)],
                prepare=True,
            )
            connection.row_factory, connection.prepare_threshold = dict_row, None
            try:
                yield connection
            finally:
                pooled.row_factory, pooled.prepare_threshold = before


@asynccontextmanager
async def query_for(pool: Pool, view: View | type[View], org: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection that a request waits for, and that sees the rows of one organisation in the views of one service.

    Tables are named with their schemas. Raises `OperationalError` as `query_connection` does.
    """
    begin = SQL("BEGIN; SET LOCAL ROLE {}; SET LOCAL rclaude.org = {}")
    async with query_connection(pool) as connection:
        # one round trip: as parameters and by `transaction()` it would be two, on a path that many requests take
        await connection.execute(begin.format(Identifier(role_of(view.name)), Literal(org)))
        try:
            yield connection
        finally:
            await connection.rollback()


@dataclass(frozen=True, slots=True)
class _Statements:
    """The bulk statements of one table. Each takes its rows as one JSON parameter, which PostgreSQL reads by the
    table's own column types: a fifth of the time and a tenth of the client's CPU that an array a column takes.
    """

    names: frozenset[str]
    key: tuple[str, ...]
    upsert: LiteralString
    append: LiteralString
    add: LiteralString
    delete: LiteralString
    load: LiteralString

    def dump(self, rows: Collection[Mapping[str, Any]]) -> str:
        for row in rows:
            if missing := self.names - row.keys():
                raise KeyError(f"a row without {', '.join(sorted(missing))}")
        return _dump(rows)

    def dump_keys(self, keys: Iterable[Any]) -> str | None:
        if len(self.key) == 1:
            rows = [{self.key[0]: key} for key in keys]
        else:
            rows = [dict(zip(self.key, key, strict=True)) for key in keys]
        return _dump(rows) if rows else None


@lru_cache(maxsize=256)
def _statements(model: type[SQLModel]) -> _Statements:
    table = model.metadata.tables[str(model.__tablename__)]
    key = tuple(column.name for column in table.primary_key)
    if not key:
        raise TypeError(f"table {table.name} of {model.__name__} has no primary key")
    parts = {
        "table": Identifier(table.name),
        "names": _list("{}", [column.name for column in table.columns]),
        "key": _list("{}", key),
        "changes": _list("{0} = excluded.{0}", [c.name for c in table.columns if c.name not in key]),
    }
    parts["rows"] = SQL("json_populate_recordset(NULL::{table}, %s)").format(**parts)

    def statement(text: LiteralString) -> LiteralString:
        return SQL(text).format(**parts).as_string(None)

    append: LiteralString = "INSERT INTO {table} ({names}) SELECT {names} FROM {rows}"
    conflict: LiteralString = "UPDATE SET {changes}" if len(key) < len(table.columns) else "NOTHING"
    return _Statements(
        names=frozenset(column.name for column in table.columns),
        key=key,
        upsert=statement(append + " ON CONFLICT ({key}) DO " + conflict),
        append=statement(append),
        add=statement(append + " ON CONFLICT DO NOTHING"),
        delete=statement("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {rows})"),
        load=statement("SELECT {names} FROM {table} WHERE ({key}) IN (SELECT {key} FROM {rows})"),
    )


def _list(pattern: LiteralString, names: Iterable[str]) -> Composable:
    return SQL(", ").join(SQL(pattern).format(Identifier(name)) for name in names)


def _dump(rows: Collection[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows), default=_as_text).decode()


def _as_text(value: Any) -> str:
    """What JSON has no type for, as PostgreSQL reads it."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    raise TypeError
