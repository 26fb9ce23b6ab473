"""Reads broker and archive side by side and says what is wrong with either."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from psycopg import IsolationLevel

from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.postgres.schemas import Pool, connect
from remote_claude.runtime.archive import signer, store
from remote_claude.runtime.archive.chain import GENESIS
from remote_claude.runtime.archive.comparison import Comparison
from remote_claude.runtime.archive.findings import ArchiveReport
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.archive.store import Head

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called now and then with (position, goal)."""


async def verify(
    log: JetStreamEventLog, pool: Pool, heads: Heads, *, progress: Progress | None = None
) -> ArchiveReport:
    """Hold every event of broker, archive and signed heads against each other, as they are now.

    Reads in order with bounded memory, beside whatever is being written.
    """
    signed = heads.read()
    async with connect(pool, store.SCHEMA) as connection:
        await store.create(connection)
        signed_by = await signer.read(connection)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        async with connection.transaction():
            head = await store.read_head(connection) or Head(0, GENESIS)
            first, last = await log.bounds()
            report = ArchiveReport(broker=(first, last), archive=(1, head.position))
            comparison = Comparison(report, head, signed, trimmed=await store.read_trimmed(connection))
            if signed_by is not None and signed_by.public_key != heads.public_key():
                report.add(
                    "heads",
                    "missing",
                    1,
                    f"they are in {signed_by.place}, and {heads.folder} has none of theirs: set RCLAUDE_HEADS and "
                    "RCLAUDE_HEAD_KEY to that place, or put the files back from a backup",
                    last=max(1, head.position),
                )
            for gone in heads.missing(signed):
                report.add("heads", "missing", gone.first, gone.detail, last=gone.last)
            goal = max(last, head.position)
            async with (
                aclosing(_each(log.read_broker(after=first - 1, until=last))) as events,
                aclosing(_each(store.read(connection))) as rows,
            ):
                event, row = await anext(events, None), await anext(rows, None)
                while event is not None or row is not None:
                    position = min(item.position for item in (event, row) if item is not None)
                    here = event if event is not None and event.position == position else None
                    kept = row if row is not None and row.position == position else None
                    comparison.feed(here, kept)
                    if here is not None:
                        event = await anext(events, None)
                    if kept is not None:
                        row = await anext(rows, None)
                    if progress is not None and (position % 5000 == 0 or position == goal):
                        progress(position, goal)
            comparison.finish()
    return report


async def _each(batches: AsyncGenerator[list[T], None]) -> AsyncGenerator[T, None]:
    async with aclosing(batches):
        async for batch in batches:
            for item in batch:
                yield item
