"""What the broker's answers mean: its own numbers, asked of the real one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from event_logs import Place, connect, new_place
from remote_claude.eventsourcing.jetstream.append_answers import (
    Answer,
    Landed,
    Moved,
    RefusedAppend,
    Undecided,
    read_answer,
)
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.message_frames import publish_frame
from servers import Broker, nats_with_accounts

Message = tuple[str, dict[str, object]]
Ask = Callable[..., Awaitable[Answer]]
GUARD = "Nats-Expected-Last-Subject-Sequence"


@pytest.fixture
async def place(nats_server: Broker) -> Place:
    return await new_place(nats_server)


@pytest.fixture
async def ask(place: Place) -> AsyncIterator[Ask]:
    """Publish messages as one atomic batch, or a single one by itself; the meaning of the last one's answer."""
    client = await connect(place.broker)
    wire = Wire.over(client)
    await wire.open()
    numbers = iter(range(1000))

    async def ask(
        *messages: Message, batch: bool = True, to: str | None = None, sequence: list[int] | None = None
    ) -> Answer:
        answers: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        reply = wire.expect(lambda *answer: answers.put_nowait(answer))
        name = f"batch{next(numbers)}"
        for n, (aggregate, headers) in enumerate(messages):
            last = n == len(messages) - 1
            if batch:
                headers = headers | {
                    "Nats-Batch-Id": name,
                    "Nats-Batch-Sequence": (sequence or range(1, 2000))[n],
                }
                headers |= {"Nats-Batch-Commit": 1} if last else {}
            block = "".join(f"{key}: {value}\r\n" for key, value in headers.items()).encode()
            await wire.send(
                publish_frame(to or place.subject(aggregate), reply if last else "", block, b"{}")
            )
        return read_answer(*await asyncio.wait_for(answers.get(), 10))

    yield ask
    await client.close()


async def test_a_guarded_publish_lands_at_the_next_position(ask: Ask) -> None:
    assert await ask(("a", {GUARD: 0}), batch=False) == Landed(1)
    assert await ask(("a", {GUARD: 1}), batch=False) == Landed(2)


async def test_a_batch_is_contiguous_and_answers_the_last_position(ask: Ask) -> None:
    assert await ask(("a", {GUARD: 0}), ("b", {GUARD: 0}), ("a", {})) == Landed(3)
    assert await ask(("c", {GUARD: 0})) == Landed(4)


async def test_10071_names_where_the_stream_is(ask: Ask) -> None:
    await ask(("a", {GUARD: 0}), ("a", {}), ("a", {}))
    assert await ask(("a", {GUARD: 0}), batch=False) == Moved(3)
    assert await ask(("b", {GUARD: 5}), batch=False) == Moved(0)
    assert await ask(("b", {GUARD: 0}), ("a", {GUARD: 1}), ("c", {GUARD: 0})) == Moved(3)
    assert await ask(("b", {GUARD: 0}), batch=False) == Landed(4)  # nothing of the batch was kept


async def test_10164_decides_nothing(ask: Ask) -> None:
    answer = await ask(("a", {GUARD: 0}), ("a", {GUARD: 1}))
    assert isinstance(answer, Undecided)
    assert "10164" in answer.reason
    assert await ask(("a", {GUARD: 0})) == Landed(1)


async def test_10176_stored_nothing_and_is_tried_apart(ask: Ask) -> None:
    answer = await ask(("a", {GUARD: 0}), ("b", {GUARD: 0}), sequence=[1, 3])
    assert isinstance(answer, Undecided)
    assert answer.apart
    assert "10176" in answer.reason


async def test_10201_means_that_it_is_there_already(ask: Ask) -> None:
    known = ("a", {GUARD: 0, "Nats-Msg-Id": "known"})
    assert await ask(known, ("b", {GUARD: 0})) == Landed(2)
    assert await ask(known, ("b", {GUARD: 0})) == Moved(0)


async def test_10210_is_to_be_waited_out(ask: Ask, place: Place) -> None:
    client = await connect(place.broker)
    for n in range(50):
        await client.publish(
            place.subject(f"open{n}"),
            b"{}",
            headers={"Nats-Batch-Id": f"open{n}", "Nats-Batch-Sequence": "1"},
        )
    answer = await client.request(
        place.subject("a"),
        b"{}",
        timeout=10,
        headers={"Nats-Batch-Id": "one more", "Nats-Batch-Sequence": "1"},
    )
    assert isinstance(meaning := read_answer(b"", answer.data), Undecided)
    assert "10210" in meaning.reason
    assert not meaning.apart
    await client.close()


async def test_10002_is_waited_out() -> None:
    small = {"SMALL": {"jetstream": {"max_file": 64 * 1024}, "users": [{"seed": "somebody"}]}}
    with nats_with_accounts({}, known=small) as as_user:
        place = await new_place(as_user("somebody"))
        client = await connect(place.broker)
        for n in range(20):
            answer = await client.request(place.subject(f"t{n}"), bytes(8 * 1024), timeout=10)
            if not isinstance(meaning := read_answer(b"", answer.data), Landed):
                break
        await client.close()
    assert isinstance(meaning, Undecided)
    assert "10002" in meaning.reason


async def test_nobody_listening_decides_nothing(ask: Ask) -> None:
    assert isinstance(await ask(("a", {GUARD: 0}), batch=False, to="nobody.listens"), Undecided)


async def test_a_batch_of_1001_is_refused_for_good(ask: Ask) -> None:
    answer = await ask(*((f"t{n}", {GUARD: 0}) for n in range(1001)))
    assert isinstance(answer, RefusedAppend)
