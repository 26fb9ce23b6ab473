"""Frames of attempts: once, in order, whatever the broker or the disk does meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from event_logs import Proxy, connect, until
from remote_claude.eventsourcing.streams import ensure_streams
from remote_claude.runner.output import Output
from remote_claude.runtime.objects import Objects
from remote_claude.runtime.output import OutputConflict, OutputStream
from servers import Broker

ORG, TASK = "org_01", "task_01"


def text(words: str) -> dict[str, Any]:
    return {"kind": "text", "text": words}


A, B, C = text("a"), text("b"), text("c")


@pytest.fixture
async def client(fresh_nats: Broker) -> AsyncIterator[Client]:
    client = await connect(fresh_nats)
    await ensure_streams(client)
    yield client
    await client.close()


def kept(stream: OutputStream, place: Path, told: list[str], max_bytes: int = 1000) -> Output:
    """The output of an attempt, and what its attempt is told of it."""
    return Output(
        stream.writer(ORG, TASK, 1),
        place,
        on_fenced=lambda: told.append("fenced"),
        on_full=lambda: told.append("full"),
        max_bytes=max_bytes,
    )


async def frames(stream: OutputStream) -> list[dict[str, Any]]:
    return [frame async for chunk in stream.read(ORG, TASK, 1) for frame in chunk.frames]


async def test_a_write_whose_answer_was_lost_is_there_once_and_the_next_one_follows(
    fresh_nats: Broker, client: Client
) -> None:
    async with Proxy(fresh_nats) as proxy:
        through = await connect(fresh_nats, proxy.url)
        writer, stream = OutputStream(through).writer(ORG, TASK, 1), OutputStream(client)
        await writer.write([A])
        proxy.deaf = True
        writing = asyncio.create_task(writer.write([B]))

        async def landed() -> bool:
            return await frames(stream) == [A, B]

        await until(landed)
        proxy.cut()
        await writing
        await writer.write([C])
        assert await frames(stream) == [A, B, C]
        assert writer.frames == 3
        await through.close()


async def test_the_end_of_what_was_written_is_known(client: Client) -> None:
    stream = OutputStream(client)
    assert await stream.end(ORG, TASK, 1) == 0
    writer = stream.writer(ORG, TASK, 1)
    await writer.write([A])
    await writer.write([B, C])
    assert (await stream.end(ORG, TASK, 1), await stream.end(ORG, TASK, 2)) == (3, 0)


async def test_a_stale_writer_is_fenced_off(client: Client) -> None:
    stream = OutputStream(client)
    stale, current = stream.writer(ORG, TASK, 1), stream.writer(ORG, TASK, 1)
    await current.write([A])
    with pytest.raises(OutputConflict):
        await stale.write([A])
    assert await frames(stream) == [A]


async def test_frames_that_the_disk_refused_are_not_written_twice(client: Client, tmp_path: Path) -> None:
    stream, place = OutputStream(client), tmp_path / "output.jsonl"
    told: list[str] = []
    output = kept(stream, place, told)
    place.mkdir()
    with pytest.raises(IsADirectoryError):
        await output.store(1, [A])
    place.rmdir()
    await output.store(1, [A])
    assert await frames(stream) == [A]
    assert place.read_text() == '{"kind": "text", "text": "a"}\n'
    assert told == []


async def test_what_the_broker_refused_is_not_sealed(client: Client, tmp_path: Path) -> None:
    stream, place = OutputStream(client), tmp_path / "output.jsonl"
    told: list[str] = []
    output = kept(stream, place, told)
    await output.store(1, [A])
    await client.jetstream().publish(f"out.{ORG}.{TASK}-1", b'{"first": 2, "frames": []}')
    for _ in range(2):
        with pytest.raises(OutputConflict):
            await output.store(2, [B, C])
    assert told == ["fenced", "fenced"]
    objects = Objects(str(tmp_path / "objects"))
    sealed = await output.seal(objects, ORG)
    assert sealed is not None
    assert sealed.frames == 1
    assert await objects.get(ORG, sealed.sha256) == b'{"kind": "text", "text": "a"}\n'


async def test_what_comes_after_too_much_is_dropped_and_the_attempt_told(
    client: Client, tmp_path: Path
) -> None:
    stream, place, told = OutputStream(client), tmp_path / "output.jsonl", list[str]()
    output = kept(stream, place, told, max_bytes=100)
    await output.store(1, [A])
    await output.store(2, [text("x" * 100)])
    await output.store(3, [B])
    assert await frames(stream) == [A]
    assert told == ["full", "full"]
