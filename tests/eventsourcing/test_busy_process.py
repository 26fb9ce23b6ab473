"""A process that is busy comes to the end of it before it sends: what it is busy with appends more."""

import asyncio
import time

import pytest

from event_logs import happened, new_place
from remote_claude.eventsourcing.jetstream import committer as commit
from servers import Broker


def some_work() -> None:
    time.sleep(2 * commit.BUSY_S)


async def test_what_comes_turn_by_turn_goes_together(
    nats_server: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "MOST_BUSY_S", 60.0)
    place = await new_place(nats_server)
    groups: list[int] = []

    async def caller(turns: int) -> None:
        for _ in range(turns):
            some_work()
            await asyncio.sleep(0)
        await log.append(place.subject(f"t{turns}"), [happened()], expected_position=0)

    async with place.log() as log:
        log.stats.on_group = lambda appends, _: groups.append(appends)
        await asyncio.gather(*(caller(turns) for turns in range(6)))
    assert groups == [6]


async def test_a_process_that_is_always_busy_appends_nevertheless(nats_server: Broker) -> None:
    place = await new_place(nats_server)

    async def be_busy() -> None:
        while True:
            some_work()
            await asyncio.sleep(0)

    async with place.log() as log, asyncio.timeout(60):
        busy = asyncio.create_task(be_busy())
        for n in range(3):
            assert await log.append(place.subject(f"t{n}"), [happened()], expected_position=0) == n + 1
        busy.cancel()
