"""Many appends go in two groups in turn: the broker works on one while the callers of the other come back."""

import asyncio

import pytest

from event_logs import happened, new_place
from remote_claude.eventsourcing.appends import CROWD, Append, Group, Waiting
from remote_claude.eventsourcing.log import MAX_BATCH_EVENTS, ConcurrencyConflict
from servers import Broker


def come(waiting: Waiting, streams: range) -> None:
    loop = asyncio.get_running_loop()
    for n in streams:
        waiting.add(Append(f"s{n}", 0, ["id"], [], 1, float("inf"), loop.create_future()))


def crowd(n: int) -> Waiting:
    waiting = Waiting()
    come(waiting, range(n))
    return waiting


def size(group: Group) -> int:
    return len(group.together)


@pytest.mark.parametrize("n", [1, 64, CROWD - 1])
async def test_few_go_together(n: int) -> None:
    assert size(crowd(n).take(0)) == n


@pytest.mark.parametrize("n", [CROWD, CROWD + 1, MAX_BATCH_EVENTS])
async def test_a_crowd_goes_by_halves(n: int) -> None:
    waiting = crowd(n)
    first = size(waiting.take(0))
    second = size(waiting.take(0, answered=first))
    assert first + second == n
    assert first - second in (0, 1)


async def test_those_that_come_back_make_halves_again() -> None:
    """However uneven the groups were."""
    waiting = crowd(7 * 100)
    assert size(waiting.take(0, answered=100)) == 400
    come(waiting, range(1000, 1100))
    assert size(waiting.take(0, answered=400)) == 400


async def test_more_than_two_batches_go_by_whole_batches() -> None:
    waiting = crowd(3 * MAX_BATCH_EVENTS)
    assert [size(waiting.take(0)) for _ in range(2)] == [MAX_BATCH_EVENTS] * 2


async def test_a_crowd_whose_callers_come_back_is_answered_in_two_batches_a_round(
    nats_server: Broker,
) -> None:
    place = await new_place(nats_server)
    rounds = 5

    async def caller(n: int) -> None:
        for i in range(rounds):
            await log.append(place.subject(f"t{n}-{i}"), [happened()], expected_position=0)

    async with place.log() as log:
        await asyncio.gather(*(caller(n) for n in range(2 * CROWD)))
        assert log.stats.appends == rounds * 2 * CROWD
        assert log.stats.batches == 2 * rounds


async def test_a_culprit_costs_nothing_to_the_other_half(nats_server: Broker) -> None:
    place = await new_place(nats_server)
    async with place.log() as other, place.log() as log:
        await other.append(place.subject("t7"), [happened()], expected_position=0)
        answers = await asyncio.gather(
            *(log.append(place.subject(f"t{n}"), [happened()], expected_position=0) for n in range(CROWD)),
            return_exceptions=True,
        )
        assert isinstance(answers.pop(7), ConcurrencyConflict)
        assert sorted(answers) == list(range(2, CROWD + 1))
        assert log.stats.retries == CROWD // 2 - 1
