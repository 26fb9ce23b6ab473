"""A view's rows as bytes: what `rebuild == live` is proved on."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, IsolationLevel, sql

from remote_claude.eventsourcing.postgres.schemas import Pool, connect

# Every table but the checkpoint, with its primary key: texts in byte order, whatever the database's collation.
KEYS = """
SELECT class.relname, array_agg(format('%%I', attribute.attname)
    || CASE WHEN attribute.attcollation <> 0 THEN ' COLLATE "C"' ELSE '' END
    ORDER BY array_position(index.indkey::int2[], attribute.attnum))
FROM pg_class class
JOIN pg_index index ON index.indrelid = class.oid AND index.indisprimary
JOIN pg_attribute attribute ON attribute.attrelid = class.oid AND attribute.attnum = ANY (index.indkey)
WHERE class.relnamespace = to_regnamespace(%s) AND class.relkind = 'r' AND class.relname <> 'checkpoint'
GROUP BY class.relname ORDER BY class.relname COLLATE "C"
"""

NO_ROW = b""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first row that two schemas do not share; None where one of them has none there."""

    live: str | None
    rebuilt: str | None

    def __str__(self) -> str:
        return f"live: {self.live}, rebuilt: {self.rebuilt}"


async def canonical_rows(pool: Pool, schema: str) -> AsyncGenerator[bytes, None]:
    """Every row of every table, by table and primary key, as `<table> <canonical JSON>`; one snapshot."""
    async with connect(pool, schema) as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        async with connection.transaction(), aclosing(rows_of(connection, schema)) as rows:
            async for row in rows:
                yield row


async def digest(pool: Pool, schema: str) -> str:
    """SHA-256 over the canonical rows: equal where the views are, on any server."""
    sha = hashlib.sha256()
    async with aclosing(canonical_rows(pool, schema)) as rows:
        async for row in rows:
            sha.update(row + b"\n")
    return sha.hexdigest()


async def rows_of(connection: AsyncConnection[Any], schema: str) -> AsyncGenerator[bytes, None]:
    """`canonical_rows` on a connection that is in a transaction.

    The reason of a parked event is left out: it is for people, and may name an address in memory.
    """
    found = await connection.execute(KEYS, [f'"{schema}"'])
    for table, key in await found.fetchall():
        row = "to_jsonb(t) - 'reason'" if table == "parked" else "to_jsonb(t)"
        query = f"SELECT ({row})::text FROM {{}} t ORDER BY {', '.join(key)}"  # noqa: S608  # names from the catalogue
        async with connection.cursor(name=f"canonical_{schema}") as cursor:
            cursor.itersize = 2000
            await cursor.execute(sql.SQL(query).format(sql.Identifier(schema, table)))
            async for (text,) in cursor:
                yield f"{table} {text}".encode()


async def compare(
    connection: AsyncConnection[Any], live: str, rebuilt: str, counted: Callable[[int], None] = lambda _: None
) -> tuple[int, Difference | None]:
    """Walk two schemas side by side; the number of rows in the second up to the first difference, and that.

    `counted` gets the number now and then.
    """
    rows = 0
    async with aclosing(rows_of(connection, live)) as lefts, aclosing(rows_of(connection, rebuilt)) as rights:
        while True:
            left, right = await anext(lefts, NO_ROW), await anext(rights, NO_ROW)
            if left != right:
                return rows, Difference(left.decode() or None, right.decode() or None)
            if left == NO_ROW:
                return rows, None
            rows += 1
            if rows % 1000 == 1:
                counted(rows)
