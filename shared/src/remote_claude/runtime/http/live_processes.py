"""How many processes of the same services answer now: each grants its share of the rate limits.

Each holds a shared advisory lock of PostgreSQL, which ends with its connection. Their number is that of the holders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from zlib import crc32

from remote_claude.edge.rate_limits import RateLimits
from remote_claude.eventsourcing.postgres.schemas import Pool, connect

CLASS = 0x72636C
"""The first number of the locks; the second is of the names of the services."""
COUNTED_EVERY_S = 2.0
HOLDERS = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
AND classid = %s::oid AND objid = %s::oid
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class LiveProcesses:
    """Counts the processes of these services, and divides the rate limits by their number."""

    def __init__(self, pool: Pool, services: Collection[str], limits: RateLimits) -> None:
        self._pool, self._limits = pool, limits
        self._lock = (CLASS, crc32(",".join(sorted(services)).encode()) & 0x7FFFFFFF)

    async def run(self) -> None:
        """Be one of them and count them; never ends by itself. Raises what PostgreSQL raises."""
        async with connect(self._pool, "public") as connection:
            await connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", self._lock)
            while True:
                row = await (await connection.execute(HOLDERS, self._lock)).fetchone()
                assert row is not None
                self._limits.processes = max(1, int(row[0]))
                await asyncio.sleep(COUNTED_EVERY_S)
