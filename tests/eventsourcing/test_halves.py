"""Many appends go in two groups in turn: the broker works on one while the callers of the other come back."""

import asyncio
from typing import Any

import pytest

from event_logs import Proxy, happened, new_place, until
from remote_claude.eventsourcing.jetstream.append_queue import (
    BATCH_THRESHOLD,
    Append,
    AppendGroup,
    AppendQueue,
)
from remote_claude.eventsourcing.log import MAX_BATCH_EVENTS, ConcurrencyConflict
from servers import Broker


def come(waiting: AppendQueue, streams: range) -> None:
    loop = asyncio.get_running_loop()
    for n in streams:
        waiting.add(Append(f"s{n}", 0, ["id"], [], 1, float("inf"), loop.create_future()))


def waiting_in(n: int) -> AppendQueue:
    waiting = AppendQueue()
    come(waiting, range(n))
    return waiting


def size(group: AppendGroup) -> int:
    return len(group.together)


@pytest.mark.parametrize("n", [1, 64, BATCH_THRESHOLD - 1])
async def test_few_go_together(n: int) -> None:
    assert size(waiting_in(n).take(0)) == n


@pytest.mark.parametrize("n", [BATCH_THRESHOLD, BATCH_THRESHOLD + 1, MAX_BATCH_EVENTS])
async def test_many_go_by_halves(n: int) -> None:
    waiting = waiting_in(n)
    first = size(waiting.take(0))
    second = size(waiting.take(0, others=first))
    assert first + second == n
    assert first - second in (0, 1)


async def test_those_that_come_back_make_halves_again() -> None:
    """However uneven the groups were."""
    waiting = waiting_in(7 * 100)
    assert size(waiting.take(0, others=100)) == 400
    come(waiting, range(1000, 1100))
    assert size(waiting.take(0, others=400)) == 400


@pytest.mark.parametrize(
    ("sent", "waiting", "ready"),
    [
        (BATCH_THRESHOLD // 2, BATCH_THRESHOLD // 2 - 1, False),
        (BATCH_THRESHOLD // 2, BATCH_THRESHOLD // 2, True),
        (1, BATCH_THRESHOLD - 2, False),
        (1, BATCH_THRESHOLD - 1, True),
        (BATCH_THRESHOLD, BATCH_THRESHOLD - 1, False),
        (MAX_BATCH_EVENTS + 1, MAX_BATCH_EVENTS, True),
    ],
)
async def test_a_half_is_made_ready_when_it_is_no_smaller_than_what_is_on_its_way(
    sent: int, waiting: int, ready: bool
) -> None:
    assert waiting_in(waiting).fill_half(sent) is ready


async def test_what_is_made_ready_leaves_the_streams_that_are_on_their_way() -> None:
    waiting = waiting_in(BATCH_THRESHOLD)
    early = waiting.take(0, apart={f"s{n}" for n in range(0, BATCH_THRESHOLD, 2)})
    assert [append.stream for append in early.together] == [
        f"s{n}" for n in range(1, BATCH_THRESHOLD // 2, 2)
    ]
    assert waiting.appends == BATCH_THRESHOLD - size(early)


async def test_more_than_two_batches_go_by_whole_batches() -> None:
    waiting = waiting_in(3 * MAX_BATCH_EVENTS)
    assert [size(waiting.take(0)) for _ in range(2)] == [MAX_BATCH_EVENTS] * 2


async def test_many_whose_callers_come_back_is_answered_in_two_batches_a_round(
    nats_server: Broker,
) -> None:
    place = await new_place(nats_server)
    rounds = 5

    async def caller(n: int) -> None:
        for i in range(rounds):
            await log.append(place.subject(f"t{n}-{i}"), [happened()], expected_position=0)

    async with place.log() as log:
        await asyncio.gather(*(caller(n) for n in range(2 * BATCH_THRESHOLD)))
        assert log.stats.appends == rounds * 2 * BATCH_THRESHOLD
        assert log.stats.batches == 2 * rounds


async def test_callers_that_are_back_make_no_batch_with_themselves(nats_server: Broker) -> None:
    """They wait, and were answered just now: once each."""
    place = await new_place(nats_server)

    async def caller(n: int, rounds: int) -> None:
        for i in range(rounds):
            await log.append(place.subject(f"t{n}-{i}"), [happened()], expected_position=0)

    async with Proxy(nats_server) as proxy, place.log(url=proxy.url) as log:
        await log.append(place.subject("first"), [happened()], expected_position=0)
        proxy.passes_answers.clear()
        early = asyncio.gather(*(caller(n, 2) for n in range(100)))
        await until(lambda: log.stats.batches == 1)
        late = asyncio.gather(*(caller(n, 1) for n in range(100, BATCH_THRESHOLD - 80)))
        await until(lambda: log.waiting == BATCH_THRESHOLD - 180)
        proxy.passes_answers.set()
        await asyncio.gather(early, late)
        assert log.stats.batch_sizes == {128: 1, 256: 1}


async def test_appends_in_a_row_to_the_streams_of_many_all_land(nats_server: Broker) -> None:
    """Though the next of each stream waits while the one before it is on its way."""
    place = await new_place(nats_server)
    async with place.log() as log:

        async def caller(stream: str) -> None:
            position = 0
            for _ in range(5):
                position = await log.append(stream, [happened()], expected_position=position)

        async def rival(stream: str) -> bool:
            try:
                await log.append(stream, [happened()], expected_position=0)
            except ConcurrencyConflict:
                return False
            return True

        streams = [place.subject(f"t{n}") for n in range(BATCH_THRESHOLD)]
        landed, _ = await asyncio.gather(
            asyncio.gather(*(rival(stream) for stream in streams)),
            asyncio.gather(*(caller(f"{stream}x") for stream in streams)),
        )
        assert all(landed)
        again = await asyncio.gather(*(rival(stream) for stream in [*streams, *streams]))
        assert not any(again)
        assert log.stats.retries == 0


async def test_what_was_ready_in_time_is_sent_after_its_deadline_and_told_the_truth(
    nats_server: Broker,
) -> None:
    place = await new_place(nats_server)
    bound = 0.5
    async with Proxy(nats_server) as proxy, place.log(url=proxy.url, bound=bound) as log:
        await log.append(place.subject("first"), [happened()], expected_position=0)
        proxy.passes_answers.clear()
        appends = asyncio.gather(
            *(
                log.append(place.subject(f"t{n}"), [happened()], expected_position=0)
                for n in range(BATCH_THRESHOLD)
            ),
            return_exceptions=True,
        )
        await until(lambda: log.stats.batches == 2)
        late = asyncio.get_running_loop().time() + bound
        await until(lambda: asyncio.get_running_loop().time() > late)
        assert not appends.done()
        proxy.passes_answers.set()
        second = (await appends)[BATCH_THRESHOLD // 2 :]
        assert second == list(range(BATCH_THRESHOLD // 2 + 2, BATCH_THRESHOLD + 2))


async def test_a_culprit_costs_nothing_to_the_other_half(nats_server: Broker) -> None:
    place = await new_place(nats_server)
    async with place.log() as other, place.log() as log:
        await other.append(place.subject("t7"), [happened()], expected_position=0)
        answers: list[Any] = await asyncio.gather(
            *(
                log.append(place.subject(f"t{n}"), [happened()], expected_position=0)
                for n in range(BATCH_THRESHOLD)
            ),
            return_exceptions=True,
        )
        assert isinstance(answers.pop(7), ConcurrencyConflict)
        assert sorted(answers) == list(range(2, BATCH_THRESHOLD + 1))
        assert log.stats.retries == BATCH_THRESHOLD // 2 - 1
