"""A view's PostgreSQL schema: its tables, its checkpoint, its parked events, and who may write to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection, OperationalError, sql
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import MetaData, create_mock_engine
from sqlalchemy.engine.mock import MockConnection

from remote_claude.eventsourcing.errors import CheckpointMoved, RightsMissing
from remote_claude.eventsourcing.postgres.isolation import isolate
from remote_claude.eventsourcing.views import View

Pool = AsyncConnectionPool[AsyncConnection[Any]]

SILENCE_S = 10.0
"""A process that keeps a view or the archive and says nothing to PostgreSQL for so long loses its lock."""

CONNECTION_S = 5.0
TURN_S = 30.0
"""How long a question waits for its turn at most."""
NOT_FOR_QUESTIONS = 4
"""Connections of a pool that are left for what a process does besides."""
ANSWER_S = 10.0
"""How long a question of somebody who waits takes at most: for a connection of the pool, and with it in all."""

OWN_TABLES = """
CREATE TABLE checkpoint (position bigint NOT NULL, version int NOT NULL);
CREATE TABLE parked (
    position bigint PRIMARY KEY, event_id text NOT NULL, stream text NOT NULL,
    type text NOT NULL, version int NOT NULL, reason text NOT NULL
);
"""

# Readers in other processes are notified of a new position when the batch commits. The channel is the schema's name.
MOVE = """
WITH moved AS (
    UPDATE checkpoint SET position = %s WHERE position = %s AND version = %s RETURNING position
)
SELECT pg_notify(current_schema(), position::text) FROM moved
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a view has come, and by which version of its code."""

    position: int
    version: int


@asynccontextmanager
async def connect(pool: Pool, schema: str) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection of its own, outside the pool's count, for one that keeps a lock or works for long.

    It commits asynchronously (everything can be rebuilt from the log) and finds `schema`'s tables unqualified.
    """
    conninfo, kwargs = cast(str, pool.conninfo), dict(cast(dict[str, Any], pool.kwargs or {}))
    connection = await AsyncConnection.connect(conninfo, **(kwargs | {"autocommit": True}))
    async with connection:
        await connection.execute(
            "SELECT set_config('synchronous_commit', 'off', false), set_config('search_path', %s, false)",
            [f'"{schema}"'],
        )
        yield connection


@asynccontextmanager
async def borrow(pool: Pool, timeout: float | None = None) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection of the pool. Taken from it directly, a cancellation can be lost: it waits with asyncio's `wait_for`."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    async with pool.connection(timeout) as connection:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
        yield connection


class _Turns:
    """Who may use a pool: as many at one time as it has connections for, the others in line."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._answered = float("-inf")

    @asynccontextmanager
    async def turn(self, within: float) -> AsyncIterator[None]:
        """Wait for a turn while PostgreSQL answers others. Raises `TimeoutError` when it answers none, or after `TURN_S`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                async with asyncio.timeout(within):
                    await self._free.acquire()
                    break
            except TimeoutError:
                now = loop.time()
                if now - self._answered > within or now - began > TURN_S:
                    raise
        try:
            yield
            self._answered = loop.time()
        finally:
            self._free.release()


_turns: WeakKeyDictionary[Pool, _Turns] = WeakKeyDictionary()


@asynccontextmanager
async def query_connection(pool: Pool, *, within: float = ANSWER_S) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection of the pool for queries that a request waits for. Raises `OperationalError` after `within` seconds.

    The time counts from its turn: of many at once none is refused that would be answered a moment later.
    A frozen server keeps its connections open without an answer, and no setting of its own ends that.
    """
    turns = _turns.setdefault(pool, _Turns(max(1, pool.max_size - NOT_FOR_QUESTIONS)))
    try:
        async with turns.turn(within), asyncio.timeout(within), borrow(pool, CONNECTION_S) as connection:
            yield connection
    except TimeoutError as error:
        raise OperationalError(f"PostgreSQL has not answered within {within:g} s") from error


async def create_schema(connection: AsyncConnection[Any], schema: str, view: View) -> None:
    """Create the schema with empty tables at position 0, unless it is there. Safe against others who do the same."""
    async with connection.transaction():
        await lock_schemas(connection)
        if await read_checkpoint(connection, schema) is not None:
            return
        name = sql.Identifier(schema)
        await connection.execute(sql.SQL("CREATE SCHEMA {}; SET LOCAL search_path = {}").format(name, name))
        for statement in (OWN_TABLES, *ddl(view.tables)):
            await connection.execute(sql.SQL(cast(Any, statement)))
        await connection.execute("INSERT INTO checkpoint VALUES (0, %s)", [view.version])
        await isolate(connection, schema, view)


def ddl(tables: MetaData) -> list[str]:
    """The statements that create a view's tables. An integer key comes from the events, never from a sequence."""
    plain = MetaData()
    for table in tables.sorted_tables:
        for column in table.to_metadata(plain).primary_key:
            column.autoincrement = False
    statements: list[str] = []
    engine: MockConnection = create_mock_engine(
        "postgresql+psycopg://",
        lambda statement, *_: statements.append(str(statement.compile(dialect=engine.dialect))),
    )
    plain.create_all(engine, checkfirst=False)
    return statements


async def lock_schemas(connection: AsyncConnection[Any]) -> None:
    """Until the transaction ends, nobody else creates a view's schema."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('view/schemas', 0))")


async def read_checkpoint(
    connection: AsyncConnection[Any], schema: str, *, lock: bool = False
) -> Checkpoint | None:
    """The checkpoint of a schema, or None when there is no such schema. `lock` keeps it from moving."""
    found = await connection.execute("SELECT to_regclass(%s)::oid", [f'"{schema}".checkpoint'])
    row = await found.fetchone()
    if row is None or row[0] is None:
        return None
    found = await connection.execute(
        sql.SQL("SELECT position, version FROM {} {}").format(
            sql.Identifier(schema, "checkpoint"), sql.SQL("FOR UPDATE" if lock else "")
        )
    )
    row = await found.fetchone()
    return Checkpoint(*row) if row is not None else None


async def move_checkpoint(connection: AsyncConnection[Any], start: int, end: int, version: int) -> None:
    """Move it from `start` to `end`. It comes first in a batch's transaction: its row lock orders all writers.

    Raises `CheckpointMoved` when it is not at `start`, or not of this version.
    """
    moved = await connection.execute(MOVE, [end, start, version])
    if moved.rowcount != 1:
        raise CheckpointMoved(f"the checkpoint is not at {start}")


async def lock_checkpoint(connection: AsyncConnection[Any], position: int, version: int) -> None:
    """Keep everybody else from moving it until the transaction ends. Raises `CheckpointMoved` as above."""
    found = await connection.execute("SELECT position, version FROM checkpoint FOR UPDATE")
    if await found.fetchone() != (position, version):
        raise CheckpointMoved(f"the checkpoint is not at {position}")


async def read_parked(connection: AsyncConnection[Any]) -> dict[str, int]:
    """How many events are parked, by stream."""
    found = await connection.execute("SELECT stream, count(*) FROM parked GROUP BY stream")
    return dict(await found.fetchall())


async def read_dropped(connection: AsyncConnection[Any], view: str) -> set[str]:
    """The ids of the events that an administrator has taken out of a view for good."""
    found = await connection.execute("SELECT to_regclass('parking.dropped')::oid")
    row = await found.fetchone()
    if row is None or row[0] is None:
        return set()
    found = await connection.execute("SELECT event_id FROM parking.dropped WHERE view = %s", [view])
    return {event_id for (event_id,) in await found.fetchall()}


async def check_rights(pool: Pool) -> None:
    """Raises `RightsMissing` where the role may not create schemas: each view and the archive is one."""
    query = "SELECT current_user, current_database(), has_database_privilege(current_database(), 'CREATE')"
    async with query_connection(pool) as connection:
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    role, database, may_create = row
    if not may_create:
        raise RightsMissing(
            f"the role {role} may not create schemas in the database {database}, and each view is one: "
            f'as its owner, GRANT CREATE ON DATABASE "{database}" TO "{role}"'
        )
