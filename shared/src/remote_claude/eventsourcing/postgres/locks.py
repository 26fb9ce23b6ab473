"""One process at a time: an advisory lock that one holds and the others wait for.

The lock is its connection's. Another process takes over when the connection ends: closed, cut, or ended by PostgreSQL
because the holder was silent for too long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from psycopg import AsyncConnection, OperationalError

TRY = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
WAIT = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"
UNLOCK = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"


@asynccontextmanager
async def holding(
    connection: AsyncConnection[Any], key: str, *, silence: float, wait: bool = False
) -> AsyncIterator[bool]:
    """Hold the lock `key` while the context lasts; False where another process holds it. `wait` waits for it instead.

    A holder that is silent for `silence` seconds loses its connection, and the lock with it. An error in the context
    leaves the lock to the end of the connection.
    """
    if wait:
        await end_if_silent(connection, silence)
        await connection.execute(WAIT, [key])
    elif not await try_lock(connection, key):
        yield False
        return
    else:
        await end_if_silent(connection, silence)
    yield True
    with suppress(OperationalError):  # the connection is gone, and the lock with it
        await connection.execute(UNLOCK, [key])
        await end_if_silent(connection, 0)


async def try_lock(connection: AsyncConnection[Any], key: str) -> bool:
    """Take the lock `key` for as long as the connection lives, unless another process has it."""
    row = await (await connection.execute(TRY, [key])).fetchone()
    return row is not None and bool(row[0])


async def end_if_silent(connection: AsyncConnection[Any], seconds: float) -> None:
    """From now on PostgreSQL ends the session when it receives nothing for so long, in a transaction or not; 0: never."""
    await connection.execute(
        "SELECT set_config('idle_session_timeout', %(ms)s, false),"
        " set_config('idle_in_transaction_session_timeout', %(ms)s, false)",
        {"ms": str(round(seconds * 1000))},
    )


def view_lock(schema: str) -> str:
    """The key of the lock of a view's schema."""
    return f"view/{schema}"
