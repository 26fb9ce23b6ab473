"""The log on three brokers: concurrent writers, and a leader that dies."""

import asyncio
from collections.abc import Iterator

import pytest

from event_logs import Place, connect, everything, happened, new_place
from log_writers import Writers, under_load
from nats_cluster import Cluster, running_cluster
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.log import ConcurrencyConflict

WRITERS = 48
filling = "x" * 2000


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
    async with place.log() as first, place.log() as second:
        for size in (1, 8, 200):
            for n in range(10 if size < 16 else 2):
                await compete((first, second), [place.subject(f"{size}-{n}-{i}") for i in range(size)])
        recorded = await everything(first)
        assert len(recorded) == len({event.stream for event in recorded}) == 10 + 80 + 400
        for event in recorded[::50]:
            assert [e.event_id for e in await second.read_stream(event.stream)] == [event.event_id]


async def test_a_writer_reads_its_own_writes_from_any_replica(place: Place) -> None:
    async with place.log() as log:
        position = 0
        for n in range(50):
            position = await log.append(place.subject("a"), [happened()], expected_position=position)
            assert len(await log.read_stream(place.subject("a"))) == n + 1


async def test_a_dead_leader_costs_nothing_that_was_acknowledged(cluster: Cluster, place: Place) -> None:
    """Appends go on before it is back; positions, conflicts and the tail are right throughout."""

    async def kill(writers: Writers) -> None:
        for _ in range(2):
            leader = await leader_of(place)
            cluster.nodes[leader].kill()
            try:
                await writers.go_on()
            finally:
                cluster.nodes[leader].start()  # a child ends with the thread that started it
            await writers.go_on()

    writers = await under_load(place, WRITERS, kill, heartbeat=0.5)
    print(f"longest silence {writers.longest:.1f} s")


async def test_a_leader_that_steps_down_costs_nothing(place: Place) -> None:
    """In the midst of batches, again and again."""
    client = await connect(place.broker)

    async def step_down(writers: Writers) -> None:
        for _ in range(5):
            answer = await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{place.stream}", b"", timeout=10)
            assert b"error" not in answer.data
            await writers.go_on()

    writers = await under_load(place, WRITERS, step_down, heartbeat=0.5)
    print(f"longest silence {writers.longest:.1f} s")
    await client.close()


@pytest.mark.parametrize("rounds", [2, pytest.param(6, marks=pytest.mark.nightly)])
async def test_a_read_is_whole_whichever_replica_answers_it(
    cluster: Cluster, place: Place, rounds: int
) -> None:
    """A broker that comes back lacks what was written meanwhile; a consumer that is placed there must not end early."""
    async with place.log(heartbeat=0.5) as log:
        position = 0
        for n in range(rounds):
            leader = await leader_of(place)
            node = cluster.nodes[next(name for name in cluster.nodes if (name == leader) == bool(n % 2))]
            node.kill()
            for _ in range(20):
                events = [happened(filling) for _ in range(25)]
                position = await log.append(place.subject("a"), events, expected_position=position)
            node.start()
            for _ in range(5):
                assert await log.last_position() == position
                whole = await asyncio.gather(
                    *(everything(log, after=after) for after in (0, position // 2, position - 1)),
                    everything(log, subjects=place.subject("a")),
                    everything(log, subjects=place.subject("b")),
                )
                firsts = (1, position // 2 + 1, position, 1)
                for read, first in zip(whole[:4], firsts, strict=True):
                    assert [event.position for event in read] == list(range(first, position + 1))
                assert not whole[4]


async def test_of_the_same_append_by_two_at_once_both_learn_its_position(place: Place) -> None:
    """The second one is told that the first is in flight (10164), which is no conflict."""
    async with place.log() as first, place.log() as second:
        for n in range(100):
            streams = [place.subject(f"t{n}-{i}") for i in range(1 if n % 2 else 20)]
            new = [[happened()] for _ in streams]
            positions = [
                await asyncio.gather(*appends)
                for appends in zip(
                    *(
                        [
                            asyncio.create_task(log.append(stream, events, expected_position=0))
                            for log in (first, second)
                        ]
                        for stream, events in zip(streams, new, strict=True)
                    ),
                    strict=True,
                )
            ]
            assert positions[0] == positions[1]
        assert await first.last_position() == 50 * 21
        assert first.stats.retries + second.stats.retries > 0
