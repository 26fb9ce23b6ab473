"""A view over the real broker: appended by one process, applied by another, rebuilt by a third."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import MetaData

from event_logs import happened, new_place
from projecting import TallyRow, TallyTables, running, tally
from rebuilding import assert_rebuild_equals_live
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import load, upsert
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.views import View
from servers import Broker


class Happenings(View):
    """How often something has happened to an aggregate."""

    name, version = "test_happenings", 1
    tables: ClassVar[MetaData] = TallyTables.metadata
    handles = frozenset({"Happened"})

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        rows = await load(connection, TallyRow, {event.stream for event in events})
        for event in events:
            row = rows.setdefault(event.stream, {"stream": event.stream, "count": 0, "total": 0, "last": 0})
            row |= {
                "count": row["count"] + 1,
                "total": row["total"] + len(event.event.what),
                "last": event.position,
            }
        await upsert(connection, TallyRow, rows.values())


async def fill(log: EventLog, subject: str, events: int) -> None:
    position = 0
    for n in range(events):
        position = await log.append(subject, [happened("x" * n)], expected_position=position)


async def test_what_is_appended_is_read_after_its_position_and_rebuilt_the_same(
    fresh_nats: Broker, pool: Pool
) -> None:
    place, view = await new_place(fresh_nats), Happenings()
    async with place.log() as writer, place.log() as reader, place.log() as rebuilder:
        await fill(writer, place.subject("before"), 20)
        async with Tail(reader) as tail, running(Projector(view, pool, reader, tail)) as projector:
            await asyncio.gather(*(fill(writer, place.subject(f"t{n}"), 25) for n in range(8)))
            last = await writer.append(place.subject("last"), [happened()], expected_position=0)
            assert last == 221
            assert await projector.wait_for(last, 30)
            assert (await tally(pool, view))["last"] == (1, 221)
            assert (await tally(pool, view))["before"] == (20, 20)
            result = await assert_rebuild_equals_live(view, pool, rebuilder)
            assert (result.position, result.rows) == (221, 10)


async def test_a_broker_killed_under_a_projector_costs_nothing(fresh_nats: Broker, pool: Pool) -> None:
    place, view = await new_place(fresh_nats), Happenings()
    async with (
        place.log() as writer,
        place.log() as reader,
        Tail(reader) as tail,
        running(Projector(view, pool, reader, tail)) as projector,
    ):
        await fill(writer, place.subject("a"), 10)
        assert await projector.wait_for(10, 30)
        await asyncio.to_thread(fresh_nats.kill)
        await asyncio.to_thread(fresh_nats.start)
        await fill(writer, place.subject("b"), 10)
        assert await projector.wait_for(20, 60)
    assert await tally(pool, view) == {"a": (10, 10), "b": (10, 20)}
