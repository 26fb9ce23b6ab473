"""The log on three brokers: concurrent writers, and a leader that dies."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from event_logs import Place, connect, everything, happened, new_place
from nats_cluster import Cluster, running_cluster
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.log import ConcurrencyConflict


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
async def place(cluster: Cluster) -> Place:
    await cluster.elected()
    return await new_place(cluster.broker, replicas=3)


async def leader_of(place: Place) -> str:
    client = await connect(place.broker)
    info = await client.jetstream().stream_info(place.stream)
    await client.close()
    assert info.cluster is not None
    assert info.cluster.leader is not None
    return info.cluster.leader


async def compete(logs: tuple[JetStreamEventLog, ...], streams: list[str]) -> None:
    """All logs append to all streams at once; one wins each, and the others are told of a conflict."""
    answers = await asyncio.gather(
        *(log.append(stream, [happened(stream)], expected_position=0) for stream in streams for log in logs),
        return_exceptions=True,
    )
    won = [answer for answer in answers if isinstance(answer, int)]
    assert len(won) == len(set(won)) == len(streams)
    assert sum(isinstance(answer, ConcurrencyConflict) for answer in answers) == len(answers) - len(streams)


async def test_of_concurrent_writers_one_wins_each_stream(place: Place) -> None:
    async with place.log(leader_reads=True) as first, place.log(leader_reads=True) as second:
        for size in (1, 8, 200):
            for n in range(10 if size < 16 else 2):
                await compete((first, second), [place.subject(f"{size}-{n}-{i}") for i in range(size)])
        recorded = await everything(first)
        assert len(recorded) == len({event.stream for event in recorded}) == 10 + 80 + 400
        for event in recorded[::50]:
            assert [e.event_id for e in await second.read_stream(event.stream)] == [event.event_id]


async def test_a_writer_reads_its_own_writes_from_any_replica(place: Place) -> None:
    async with place.log(leader_reads=True) as log:
        position = 0
        for n in range(50):
            position = await log.append(place.subject("a"), [happened()], expected_position=position)
            assert len(await log.read_stream(place.subject("a"))) == n + 1


async def test_a_dead_leader_costs_nothing_that_was_acknowledged(cluster: Cluster, place: Place) -> None:
    seen: list[str] = []

    async def follow(log: JetStreamEventLog) -> None:
        async with aclosing(log.follow(after=0)) as batches:
            async for batch in batches:
                seen.extend(event.event_id for event in batch)
                if len(seen) >= 150:
                    return

    async with place.log(heartbeat=0.5) as first, place.log() as second:
        following = asyncio.create_task(follow(first))
        await compete((first, second), [place.subject(f"before{n}") for n in range(50)])
        leader = await leader_of(place)
        appends = [
            asyncio.create_task(
                (first, second)[n % 2].append(place.subject(f"t{n}"), [happened()], expected_position=0)
            )
            for n in range(100)
        ]
        await asyncio.sleep(0)
        cluster.nodes[leader].kill()
        try:
            positions = await asyncio.gather(*appends)
            assert sorted(positions) == list(range(51, 151))
            await asyncio.wait_for(following, 30)
            assert seen == [event.event_id for event in await everything(second)]
        finally:
            cluster.nodes[leader].start()
