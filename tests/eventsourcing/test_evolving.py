"""An event through three releases: written by each into one log, read by a view that knows the newest only."""

from typing import Any
from uuid import uuid4

from event_logs import Place, everything, new_place
from evolving import (
    BETWEEN,
    FIRST,
    SECOND,
    THIRD,
    OldScales,
    ParcelWeighed,
    ParcelWeighedCautiously,
    ParcelWeighedV1,
    ParcelWeighedV2,
    Scales,
)
from projecting import eventually, parked, running, stored_position
from rebuilding import assert_rebuild_equals_live
from remote_claude.contracts import Event
from remote_claude.contracts.registry import Registry
from remote_claude.eventsourcing.events import NewEvent
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import reading
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.views import View
from servers import Broker


def release(place: Place, codec: Registry) -> Place:
    """The same stream, as a release with this registry reads and writes it."""
    return Place(place.broker, place.stream, place.prefix, codec)


async def weigh(place: Place, codec: Registry, event: Event) -> int:
    async with release(place, codec).log() as log:
        new = NewEvent(event=event, event_id=str(uuid4()), occurred_at="2026-01-02T03:04:05.000006Z")
        return await log.append(f"{place.prefix}.post._.parcel.{uuid4().hex}", [new], expected_position=0)


async def weighed(pool: Pool, view: View) -> list[Any]:
    async with reading(pool, view, org=None) as connection:
        return await (await connection.execute("SELECT * FROM parcel ORDER BY parcel")).fetchall()


async def test_a_view_folds_three_versions_as_the_newest(fresh_nats: Broker, pool: Pool) -> None:
    place, view = await new_place(fresh_nats), Scales()
    await weigh(place, FIRST, ParcelWeighedV1(parcel="p1", weight="700"))
    await weigh(place, SECOND, ParcelWeighedV2(parcel="p2", grams=800))
    await weigh(place, THIRD, ParcelWeighed(parcel="p3", kind="tube", grams=900))
    await weigh(place, BETWEEN, ParcelWeighedCautiously(parcel="p4", kind="box", grams=1000))
    async with (
        release(place, THIRD).log() as log,
        Tail(log, after=0) as tail,
        running(Projector(view, pool, log, tail)) as projector,
    ):
        assert await projector.wait_for(4, 30)
        assert [event.version for event in await everything(log)] == [
            1,
            2,
            3,
            2,
        ]  # the log is never rewritten
        assert await weighed(pool, view) == [
            {"parcel": "p1", "kind": "box", "grams": 700},
            {"parcel": "p2", "kind": "box", "grams": 800},
            {"parcel": "p3", "kind": "tube", "grams": 900},
            {"parcel": "p4", "kind": "box", "grams": 1000},
        ]
        assert (await assert_rebuild_equals_live(view, pool, log)).events == 4


async def test_an_older_release_stops_at_a_newer_version_and_the_newer_release_goes_on_there(
    fresh_nats: Broker, pool: Pool
) -> None:
    place = await new_place(fresh_nats)
    await weigh(place, SECOND, ParcelWeighedV2(parcel="p1", grams=700))
    await weigh(place, THIRD, ParcelWeighed(parcel="p2", kind="tube", grams=800))
    await weigh(place, SECOND, ParcelWeighedV2(parcel="p3", grams=900))
    async with (
        release(place, SECOND).log() as log,
        Tail(log, after=0) as tail,
        running(Projector(OldScales(), pool, log, tail)) as old,
    ):
        await eventually(lambda: old.state == "stopped")
        assert old.reason is not None
        assert "ParcelWeighed v3" in old.reason
    assert await stored_position(pool, OldScales()) == 1
    assert await parked(pool, OldScales()) == {}
    async with (
        release(place, THIRD).log() as log,
        Tail(log, after=0) as tail,
        running(Projector(Scales(), pool, log, tail)) as new,
    ):
        assert await new.wait_for(3, 30)
    assert [row["parcel"] for row in await weighed(pool, Scales())] == ["p1", "p2", "p3"]


async def test_an_older_event_that_no_upcaster_understands_is_parked(fresh_nats: Broker, pool: Pool) -> None:
    place = await new_place(fresh_nats)
    await weigh(place, FIRST, ParcelWeighedV1(parcel="p1", weight="quite a lot"))
    await weigh(place, FIRST, ParcelWeighedV1(parcel="p2", weight="700"))
    async with (
        release(place, THIRD).log() as log,
        Tail(log, after=0) as tail,
        running(Projector(Scales(), pool, log, tail)) as projector,
    ):
        assert await projector.wait_for(2, 30)
    assert (await parked(pool, Scales()))[1].startswith("UndecodableEvent: ParcelWeighed v1: ValueError")
    assert [row["parcel"] for row in await weighed(pool, Scales())] == ["p2"]
