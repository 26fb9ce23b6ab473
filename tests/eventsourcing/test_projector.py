"""A projector applies every event once, whatever happens to it."""

from collections.abc import AsyncIterator

import pytest

from projecting import MemoryLog, Tally, open_pool, parked, running, tally
from remote_claude.eventsourcing.projector import Projector
from remote_claude.eventsourcing.schemas import Pool


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(postgres_dsn) as pool:
        yield pool


async def test_events_become_rows_and_the_position_follows(pool: Pool) -> None:
    log, view = MemoryLog(), Tally()
    log.add("a")
    log.add("b")
    async with running(Projector(view, pool, log, log)) as projector:
        last = log.add("a")
        assert await projector.wait_for(last, 30)
        assert projector.position == 3
        assert projector.lag == 0
        assert projector.state == "live"
    assert await tally(pool, view) == {"a": (2, 3), "b": (1, 2)}


async def test_a_second_process_goes_on_where_the_first_ended(pool: Pool) -> None:
    log, view = MemoryLog(), Tally()
    for _ in range(2):
        log.add("a")
        async with running(Projector(view, pool, log, log)) as projector:
            assert await projector.wait_for(log.position, 30)
    assert await tally(pool, view) == {"a": (2, 2)}


async def test_poison_is_parked_with_the_rest_of_its_aggregate(pool: Pool) -> None:
    log, view = MemoryLog(), Tally()
    log.add("a")
    log.add("b")
    log.add("b", "Cursed")
    log.add("a")
    log.add("b")
    async with running(Projector(view, pool, log, log)) as projector:
        assert await projector.wait_for(5, 30)
        log.add("b")
        log.add("a")
        assert await projector.wait_for(7, 30)
        assert projector.parked == 3
        assert projector.state == "live"
    assert await tally(pool, view) == {"a": (3, 7), "b": (1, 2)}
    assert await parked(pool, view) == {
        3: "ValueError: cursed",
        5: "an earlier event of its stream is parked",
        6: "an earlier event of its stream is parked",
    }
