"""Frames of attempts: once, in order, whatever the broker or the disk does meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import Error as NatsError

from event_logs import Proxy, connect, until
from remote_claude.eventsourcing.jetstream.streams import ensure_streams
from remote_claude.runner.execution.attempt_output import AttemptOutput
from remote_claude.runtime.agent_output import OutputConflict, OutputStream
from remote_claude.runtime.objects import Objects
from remote_claude.worker.frame_window import FrameWindow
from remote_claude.worker.protocol import frames as worker_frames
from servers import Broker

ORG, TASK = "org_01", "task_01"


def text(words: str) -> dict[str, Any]:
    return {"kind": "text", "text": words}


A, B, C = text("a"), text("b"), text("c")
SIZES = st.sampled_from([1, 40_000, 65_536])


@pytest.fixture
async def client(fresh_nats: Broker) -> AsyncIterator[Client]:
    client = await connect(fresh_nats)
    await ensure_streams(client)
    yield client
    await client.close()


def kept(stream: OutputStream, place: Path, called: list[str], max_bytes: int = 1000) -> AttemptOutput:
    """The output of an attempt, and the callbacks that it makes."""
    return AttemptOutput(
        stream.writer(ORG, TASK, 1),
        place,
        on_fenced=lambda: called.append("fenced"),
        on_full=lambda: called.append("full"),
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
        proxy.drops_answers = True
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


async def cut(proxy: Proxy, client: Client) -> None:
    """Break its connection, and wait until it has another one."""
    before = client.stats["reconnects"]
    proxy.cut()
    await until(lambda: client.stats["reconnects"] > before)


def trying_once(client: Client) -> OutputStream:
    """One that gives a write up when its first answer does not come."""
    return OutputStream(client, timeout_s=2.0, answers_within_s=0.0)


async def test_what_was_given_up_while_the_broker_was_away_and_landed_after_all_is_there_once(
    fresh_nats: Broker, client: Client, tmp_path: Path
) -> None:
    stream, called = trying_once(client), list[str]()
    output = kept(stream, tmp_path / "output.jsonl", called)
    await output.store(1, [A])
    fresh_nats.kill()
    await until(lambda: client.is_reconnecting)
    with pytest.raises(NatsError):
        await output.store(2, [B])
    fresh_nats.start()

    async def landed() -> bool:
        return client.is_connected and await frames(stream) == [A, B]

    await until(landed)
    await output.store(2, [B, C])
    await output.store(4, [A])
    assert await frames(stream) == [A, B, C, A]
    assert called == []
    sealed = await output.seal(Objects(str(tmp_path / "objects")), ORG)
    assert sealed is not None
    assert sealed.frames == 4


@pytest.mark.parametrize("landed", [True, False])
async def test_what_was_given_up_again_and_again_is_there_once(
    fresh_nats: Broker, client: Client, landed: bool
) -> None:
    stream = OutputStream(client)
    async with Proxy(fresh_nats) as proxy:
        through = await connect(fresh_nats, proxy.url)
        writer = trying_once(through).writer(ORG, TASK, 1)
        await writer.write([A])

        async def give_up(*given: dict[str, Any]) -> None:
            proxy.drops_answers, proxy.passes = landed, None if landed else 0
            with pytest.raises(NatsError):
                await writer.write(given)
            await cut(proxy, through)

        await give_up(B)
        await give_up(B, C)
        assert writer.frames == 1
        await writer.write([B, C, A])
        await writer.write([B])
        assert await frames(stream) == [A, B, C, A, B]
        assert [c.first async for c in stream.read(ORG, TASK, 1)][-1] == writer.frames == 5
        await through.close()


async def test_what_may_have_landed_is_not_taken_for_something_else(
    fresh_nats: Broker, client: Client
) -> None:
    async with Proxy(fresh_nats) as proxy:
        through = await connect(fresh_nats, proxy.url)
        writer = trying_once(through).writer(ORG, TASK, 1)
        proxy.drops_answers = True
        with pytest.raises(NatsError):
            await writer.write([A])
        await cut(proxy, through)
        for other in ([B], [B, A], []):
            with pytest.raises(OutputConflict):
                await writer.write(other)
        await writer.write([A, B])
        assert await frames(OutputStream(client)) == [A, B]
        await through.close()


@settings(deadline=None)
@given(
    said=st.lists(st.tuples(st.booleans(), SIZES, st.booleans()), min_size=1, max_size=20),
    more=st.lists(st.tuples(st.booleans(), SIZES), max_size=20),
    stored=st.integers(0, 3),
    heard=st.integers(0, 3),
)
async def test_what_a_worker_sends_again_begins_with_what_it_sent(
    said: list[tuple[bool, int, bool]], more: list[tuple[bool, int]], stored: int, heard: int
) -> None:
    """By that the writer knows frames that may have landed."""
    outbox, sent = FrameWindow(), list[tuple[int, list[bytes]]]()

    async def say(gathered: bool, size: int) -> None:
        words = "x" * size
        await outbox.put(
            worker_frames.Output(stream="stdout", text=words) if gathered else worker_frames.Text(text=words)
        )

    for gathered, size, sends in said:
        await say(gathered, size)
        if sends or not sent:
            sent.append(outbox.take())
    stored = min(stored, len(sent) - 1)
    first, given_up = sent[stored]
    outbox.acknowledge(sent[min(heard, stored)][0] - 1)
    for gathered, size in more:
        await say(gathered, size)
    outbox.rewind(first - 1)
    again, frames = outbox.take()
    assert (again, frames[: len(given_up)]) == (first, given_up)


async def test_a_stale_writer_is_fenced_off(client: Client) -> None:
    stream = OutputStream(client)
    stale, current = stream.writer(ORG, TASK, 1), stream.writer(ORG, TASK, 1)
    await current.write([A])
    with pytest.raises(OutputConflict):
        await stale.write([A])
    assert await frames(stream) == [A]


async def test_frames_that_the_disk_refused_are_not_written_twice(client: Client, tmp_path: Path) -> None:
    stream, place = OutputStream(client), tmp_path / "output.jsonl"
    called: list[str] = []
    output = kept(stream, place, called)
    place.mkdir()
    with pytest.raises(IsADirectoryError):
        await output.store(1, [A])
    place.rmdir()
    await output.store(1, [A])
    assert await frames(stream) == [A]
    assert place.read_text() == '{"kind": "text", "text": "a"}\n'
    assert called == []


async def test_what_the_broker_refused_is_not_sealed(client: Client, tmp_path: Path) -> None:
    stream, place = OutputStream(client), tmp_path / "output.jsonl"
    called: list[str] = []
    output = kept(stream, place, called)
    await output.store(1, [A])
    await client.jetstream().publish(f"out.{ORG}.{TASK}-1", b'{"first": 2, "frames": []}')
    for _ in range(2):
        with pytest.raises(OutputConflict):
            await output.store(2, [B, C])
    assert called == ["fenced", "fenced"]
    objects = Objects(str(tmp_path / "objects"))
    sealed = await output.seal(objects, ORG)
    assert sealed is not None
    assert sealed.frames == 1
    assert await objects.get(ORG, sealed.sha256) == b'{"kind": "text", "text": "a"}\n'


async def test_output_over_the_limit_is_dropped_and_reported(client: Client, tmp_path: Path) -> None:
    stream, place, called = OutputStream(client), tmp_path / "output.jsonl", list[str]()
    output = kept(stream, place, called, max_bytes=100)
    await output.store(1, [A])
    await output.store(2, [text("x" * 100)])
    await output.store(3, [B])
    assert await frames(stream) == [A]
    assert called == ["full", "full"]
