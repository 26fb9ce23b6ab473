"""Trimming and giving up where three brokers keep the log."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from archiving import archived
from event_logs import JsonCodec, happened
from nats_cluster import SIZE, Cluster, running_cluster
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.jetstream.streams import EVENTS
from remote_claude.eventsourcing.log import ConcurrencyConflict, LogUnavailable
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.runtime.archive.export import export
from remote_claude.runtime.archive.history import ArchivedHistory
from remote_claude.runtime.archive.restore import OtherReplicas, restore
from remote_claude.runtime.archive.trim import Trimmed, trim


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


async def led(read: Callable[[str], Awaitable[list[RecordedEvent]]], stream: str) -> list[RecordedEvent]:
    """What a read gives once there is a leader again: until then it says that nobody answers."""
    while True:
        with suppress(LogUnavailable):
            return await read(stream)


async def test_a_log_on_three_brokers_is_trimmed_and_goes_on_without_its_leader(
    cluster: Cluster, pool: Pool, tmp_path: Path
) -> None:
    await cluster.elected()
    async with archived(cluster.broker, pool, tmp_path, replicas=SIZE) as archive:
        stream = next(iter(archive.at))
        before = [e.event_id async for batch in archive.log.read() for e in batch]
        assert (await export(pool, tmp_path / "backup.jsonl")).position == 40
        done = await trim(
            archive.log, archive.client, pool, archive.heads,
            to=30, backup=tmp_path / "backup.jsonl", clock=archive.clock,
        )  # fmt: skip
        assert done == Trimmed(30, 31)
        await archive.log.go_back_to(ArchivedHistory(pool, JsonCodec()))

        info = await archive.client.jetstream().stream_info(EVENTS)
        assert info.cluster is not None
        assert info.cluster.leader is not None
        leader = cluster.nodes[info.cluster.leader]
        leader.kill()
        try:
            history = await led(archive.log.read_stream, stream)
            with pytest.raises(ConcurrencyConflict):
                await archive.log.append(stream, [happened()], expected_position=0)
            last = await archive.log.append(stream, [happened()], expected_position=history[-1].position)
            assert last == 41
        finally:
            leader.start()
        assert await archive.log.bounds() == (31, 41)
        whole = [e async for batch in archive.log.read() for e in batch]
        assert [e.position for e in whole] == list(range(1, 42))
        assert [e.event_id for e in whole[:40]] == before
        await archive.copied()
        assert await archive.found() == []


async def test_what_one_of_three_brokers_lacks_is_not_given_up(
    cluster: Cluster, pool: Pool, tmp_path: Path
) -> None:
    """Only one of them is read, and another may have it."""
    await cluster.elected()
    async with archived(cluster.broker, pool, tmp_path, replicas=SIZE) as archive:
        await archive.sql("CREATE SCHEMA test_view")
        await archive.sql("CREATE TABLE test_view.checkpoint (position bigint, version int)")
        await archive.sql("INSERT INTO test_view.checkpoint VALUES (43, 1)")
        with pytest.raises(OtherReplicas, match="may have position 41"):
            await restore(archive.log, archive.client, pool, archive.heads, without_lost=True)
        assert await archive.log.bounds() == (1, 40)
