"""The archive as the beginning of the log, for what has been trimmed off the broker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from remote_claude.eventsourcing.events import Codec, RecordedEvent
from remote_claude.eventsourcing.log import LogUnavailable
from remote_claude.eventsourcing.memory import subject_matches
from remote_claude.eventsourcing.postgres.schemas import Pool, borrow, connect
from remote_claude.runtime.archive import store


class ArchivedHistory:
    """A `History` in the archive."""

    def __init__(self, pool: Pool, codec: Codec) -> None:
        self._pool, self._codec = pool, codec

    async def read(
        self, *, after: int, until: int, subjects: str | None = None
    ) -> AsyncGenerator[list[RecordedEvent], None]:
        prefix = "" if subjects is None else subjects.partition("*")[0].partition(">")[0]
        async with (
            _named(),
            connect(self._pool, store.SCHEMA) as connection,
            connection.transaction(),
            aclosing(store.read(connection, after=after, until=until, prefix=prefix)) as pages,
        ):
            async for page in pages:
                events = [store.recorded(row, self._codec) for row in page]
                if subjects is None:
                    if (ends := page[-1].position) - after != len(page):
                        raise LogUnavailable(f"the archive lacks positions between {after} and {ends}")
                    after = ends
                else:
                    events = [event for event in events if subject_matches(subjects, event.stream)]
                if events:
                    yield events
        if subjects is None and after < until:
            raise LogUnavailable(f"the archive ends at {after}, and lacks what was trimmed up to {until}")

    async def read_stream(self, stream: str, *, after: int, until: int) -> list[RecordedEvent]:
        async with self._looking() as connection:
            rows = await store.read_stream(connection, stream, after=after, until=until)
        return [store.recorded(row, self._codec) for row in rows]

    async def last(self, stream: str, *, until: int) -> int:
        async with self._looking() as connection:
            return await store.last_of(connection, stream, until=until)

    @asynccontextmanager
    async def _looking(self) -> AsyncIterator[AsyncConnection[Any]]:
        async with _named(), borrow(self._pool) as connection:
            yield connection


@asynccontextmanager
async def _named() -> AsyncIterator[None]:
    """PostgreSQL's errors by the log's name for them."""
    try:
        yield
    except (psycopg.Error, PoolTimeout, OSError) as error:
        raise LogUnavailable(f"the archive, which has the beginning of the log: {error}") from error
