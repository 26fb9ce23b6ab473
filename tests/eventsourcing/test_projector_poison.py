"""An event that can't be folded is parked with the rest of its aggregate; one from the future stops the view."""

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection, Error

from projecting import Log, Tally, eventually, parked, running, stored_position, tally
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.schemas import Pool

FOLLOWER = "an earlier event of its stream is parked"


async def test_poison_is_parked_with_later_events_of_its_aggregate(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a")
    await log.add("b")
    await log.add("b", "Cursed")
    await log.add("a")
    await log.add("b")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(5, 30)
        await log.add("b")
        await log.add("a")
        assert await projector.wait_for(7, 30)
        assert projector.parked == 3
        assert projector.state == "live"
    assert await tally(pool, view) == {"a": (3, 7), "b": (1, 2)}
    assert await parked(pool, view) == {3: "ValueError: cursed", 5: FOLLOWER, 6: FOLLOWER}


async def test_a_parked_aggregate_stays_parked_in_the_next_process(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a", "Cursed")
    for _ in range(2):
        async with running(Projector(view, pool, log, log.tail)) as projector:
            assert await projector.wait_for(await log.add("a"), 30)
            assert await projector.wait_for(await log.add("b"), 30)
    assert projector.parked == 3
    assert await tally(pool, view) == {"b": (2, 5)}
    assert list(await parked(pool, view)) == [1, 2, 4]


async def test_what_the_database_refuses_is_poison(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a", "Broken")
    await log.add("b")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(2, 30)
    assert await tally(pool, view) == {"b": (1, 2)}
    reasons = await parked(pool, view)
    assert reasons[1].startswith("InvalidTextRepresentation: invalid input syntax for type bigint")
    assert list(reasons) == [1]


async def test_damaged_data_is_poison(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a", data=b"{")
    await log.add("a")
    await log.add("b")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(3, 30)
    assert await tally(pool, view) == {"b": (1, 3)}
    reasons = await parked(pool, view)
    assert reasons[1].startswith("JSONDecodeError")
    assert reasons[2] == FOLLOWER


async def test_several_poisonous_events_in_one_batch_cost_only_their_own_aggregates(
    pool: Pool, log: Log
) -> None:
    view = Tally()
    for n in range(300):
        await log.add(f"s{n % 30}", "Cursed" if n in (40, 41, 150, 299) else "Counted")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(300, 30)
    rows = await tally(pool, view)
    assert {s: c for s, (c, _) in rows.items() if c != 10} == {"s10": 1, "s11": 1, "s0": 5, "s29": 9}
    assert projector.parked == 9 + 9 + 5 + 1
    assert len(await parked(pool, view)) == projector.parked


async def test_an_error_that_apply_swallows_loses_nothing(pool: Pool, log: Log) -> None:
    class Careless(Tally):
        async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
            await super().apply(connection, events)
            if any(event.stream.endswith(".c") for event in events):
                try:
                    await connection.execute("SELECT 1 / 0")
                except Error:
                    return

    view = Careless()
    for stream in "abcd":
        await log.add(stream)
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(4, 30)
    assert await tally(pool, view) == {"a": (1, 1), "b": (1, 2), "d": (1, 4)}
    assert await parked(pool, view) == {3: "apply() swallowed an error of the database"}


async def test_unknown_types_are_skipped(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a", "Unheard")
    await log.add("a")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(2, 30)
    assert await tally(pool, view) == {"a": (1, 2)}
    assert await parked(pool, view) == {}


async def test_an_unknown_version_of_a_known_type_stops_the_view_in_front_of_it(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a")
    await log.add("a", "Ignored", version=9)
    await log.add("a", version=9)
    await log.add("b")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        await eventually(lambda: projector.state == "stopped")
        assert projector.reason is not None
        assert "3 Counted v9" in projector.reason
        assert await projector.wait_for(2, 30)
        assert not await projector.wait_for(3, 0.05)
        assert projector.lag == 2
    assert await tally(pool, view) == {"a": (1, 1)}
    assert await stored_position(pool, view) == 2


async def test_a_newer_release_goes_on_where_an_older_one_stopped(pool: Pool, log: Log) -> None:
    view = Tally()
    await log.add("a", version=9)
    async with running(Projector(view, pool, log, log.tail)) as old:
        await eventually(lambda: old.state == "stopped")
        log.change_version(1, 1)  # what a release that knows version 9 sees
        async with running(Projector(view, pool, log, log.tail)) as new:
            assert await new.wait_for(await log.add("a"), 30)
            assert await old.wait_for(2, 30)
            assert old.state == "stopped"
    assert await tally(pool, view) == {"a": (2, 2)}


async def test_an_envelope_that_the_database_can_not_hold_is_parked_all_the_same(
    pool: Pool, log: Log
) -> None:
    view = Tally()
    await log.add("a", data=b"{")
    log._events[0].event_id = "a\0b"
    await log.add("a")
    async with running(Projector(view, pool, log, log.tail)) as projector:
        assert await projector.wait_for(2, 30)
    assert list(await parked(pool, view)) == [1, 2]
