"""Events per second through a whole projector with an upsert view, against raw COPY, row by row.

    python tests/benchmarks/bench_projector.py [EVENTS]

A log in memory feeds batches of 500; everything else is real: decoding, PostgreSQL, checkpoint. One event in ten
opens a new row, the others change one. Interleaved runs, median and range; then a rebuild with its comparison.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

sys.path.insert(0, str(Path(__file__).parents[1]))

from projecting import Codec, Tally, open_pool, running
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.tail import Tail
from servers import running_postgres

BATCH, RUNS = 500, 5
COPY = "COPY raw (stream, count, total, last) FROM STDIN"


class Prepared(InMemoryEventLog):
    """A log that was filled beforehand."""

    def __init__(self, events: int) -> None:
        super().__init__(Codec())
        data = json.dumps({"n": 1, "text": "x" * 280}).encode()
        self._events = [
            RecordedEvent(
                position=n + 1,
                stream=f"ev.bench.o.thing.{n // 10 * 7919 % events}",
                event_id=f"00000000-0000-0000-0000-{n:012}",
                type="Counted",
                version=1,
                occurred_at="2026-01-01T00:00:00.000000Z",
                data=data,
                codec=Codec(),
            )
            for n in range(events)
        ]

    def forget_decoded(self) -> None:
        for event in self._events:
            event._event = None

    async def batches(self) -> AsyncGenerator[list[RecordedEvent], None]:
        for start in range(0, len(self._events), BATCH):
            yield self._events[start : start + BATCH]


class Feed(Tail):
    """Hands out what the log holds as fast as it is taken."""

    async def subscribe(self, *, after: int) -> AsyncGenerator[list[RecordedEvent], None]:
        async for batch in self._log.read(after=after):
            yield batch
        await asyncio.Event().wait()


async def projector_rate(log: Prepared, pool: Pool, name: str, batch: int) -> float:
    log.forget_decoded()
    projector = Projector(Tally(name), pool, log, Feed(log), batch_size=batch)
    started = time.perf_counter()
    async with running(projector):
        assert await projector.wait_for(await log.last_position(), 600)
        return await log.last_position() / (time.perf_counter() - started)


async def copy_rate(log: Prepared, dsn: str) -> float:
    """The limit: one row for each event, in the same batches and transactions, nothing decoded or folded."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("DROP TABLE IF EXISTS raw")
        await connection.execute("CREATE TABLE raw (stream text, count bigint, total bigint, last bigint)")
        await connection.execute("SET synchronous_commit = off")
        started = time.perf_counter()
        async for events in log.batches():
            async with connection.transaction(), connection.cursor() as cursor, cursor.copy(COPY) as copy:
                for event in events:
                    await copy.write_row((event.stream, 1, 1, event.position))
        return await log.last_position() / (time.perf_counter() - started)


def line(name: str, rates: Sequence[float], limit: float) -> None:
    middle = statistics.median(rates)
    print(f"{name:34}{middle:>10,.0f}/s  {min(rates):>9,.0f} .. {max(rates):>9,.0f}  {middle / limit:6.0%}")


async def main(events: int) -> None:
    log = Prepared(events)
    rates: dict[str, list[float]] = {"COPY": [], f"projector, {BATCH}": [], "projector, 2000": []}
    with running_postgres() as server, server.fresh() as dsn:
        async with open_pool(dsn) as pool:
            for run in range(RUNS):
                rates["COPY"].append(await copy_rate(log, dsn))
                for batch in (BATCH, 2000):
                    name = f"bench_{run}_{batch}"
                    rates[f"projector, {batch}"].append(await projector_rate(log, pool, name, batch))
            log.forget_decoded()
            result = await rebuild(Tally(f"bench_0_{BATCH}"), pool, log)
        limit = statistics.median(rates["COPY"])
        print(f"{events:,} events of 300 bytes, {RUNS} interleaved runs, load {os.getloadavg()[0]:.1f}")
    for label, found in rates.items():
        line(label, found, limit)
    line("rebuild", [result.events / result.seconds], limit)
    print(f"rebuild equals live: {result.equal}, {result.rows:,} rows compared")


if __name__ == "__main__":
    arguments: list[Any] = sys.argv[1:]
    asyncio.run(main(int(arguments[0]) if arguments else 100_000))
