"""The tail: one reader, a bounded ring, subscribers of every speed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from event_logs import JsonCodec, happened, new_place
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import LogUnavailable, PositionAhead
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.tail import Tail
from servers import Broker


@pytest.fixture
def log() -> InMemoryEventLog:
    return InMemoryEventLog(JsonCodec(), heartbeat=0.05)


async def fill(log: InMemoryEventLog, n: int, size: int = 10) -> None:
    """Append n events, one by one, on one stream, letting the tail keep up."""
    for _ in range(n):
        last = await log.last_position()
        await log.append("ev.g.o.t.a", [happened("x" * size)], expected_position=last)
        await asyncio.sleep(0)


async def take(subscription: AsyncGenerator[list[RecordedEvent], None], until: int) -> list[int]:
    """The positions that a subscription brings, up to and with `until`."""
    seen: list[int] = []
    async with aclosing(subscription) as batches:
        async for batch in batches:
            assert batch
            seen += [event.position for event in batch]
            if seen[-1] >= until:
                break
    return seen


async def test_subscribers_get_everything_from_any_position(log: InMemoryEventLog) -> None:
    await fill(log, 20)
    async with Tail(log) as tail:
        assert tail.position == 20
        takers = [asyncio.create_task(take(tail.subscribe(after=n), 40)) for n in (0, 7, 19, 20)]
        await fill(log, 20)
        for n, taker in zip((0, 7, 19, 20), takers, strict=True):
            assert await asyncio.wait_for(taker, 5) == list(range(n + 1, 41))


async def test_a_tail_may_begin_at_a_position(log: InMemoryEventLog) -> None:
    await fill(log, 20)
    async with Tail(log, after=5) as tail:
        assert await take(tail.subscribe(after=5), 20) == list(range(6, 21))
        assert tail.position == 20
        assert log.stats.events_read == 15
        assert await take(tail.subscribe(after=2), 20) == list(range(3, 21))


async def test_a_subscriber_may_be_ahead_of_the_tail(log: InMemoryEventLog) -> None:
    await fill(log, 20)
    async with Tail(log, after=5) as tail:
        taker = asyncio.create_task(take(tail.subscribe(after=18), 22))
        await fill(log, 2)
        assert await asyncio.wait_for(taker, 5) == [19, 20, 21, 22]


async def test_subscribers_share_one_reading_and_one_event(log: InMemoryEventLog) -> None:
    async with Tail(log) as tail:
        subscriptions = [tail.subscribe(after=0) for _ in range(3)]
        await fill(log, 10)
        batches = [await anext(subscription) for subscription in subscriptions]
        assert batches[0][0] is batches[1][0] is batches[2][0]
        assert log.stats.events_read == 10


async def test_a_slow_subscriber_falls_out_and_catches_up_by_itself(log: InMemoryEventLog) -> None:
    async with Tail(log, capacity=20_000) as tail:
        slow = tail.subscribe(after=0)
        await fill(log, 1, 500)
        [first] = await anext(slow)
        quick = asyncio.create_task(take(tail.subscribe(after=0), 300))
        await fill(log, 299, 500)
        assert await asyncio.wait_for(quick, 5) == list(range(1, 301))  # while the slow one did nothing
        assert tail.held <= 20_000
        assert [first.position, *await take(slow, 300)] == list(range(1, 301))


async def test_a_subscriber_that_was_slow_once_is_back_in_the_ring(log: InMemoryEventLog) -> None:
    async with Tail(log, capacity=20_000) as tail:
        slow = tail.subscribe(after=0)
        await fill(log, 1)
        await anext(slow)
        await fill(log, 99)
        assert [event.position for event in await anext(slow)] == list(range(2, 101))
        caught_up = log.stats.events_read
        await fill(log, 10)
        while (await anext(slow))[-1].position < 110:
            pass
        assert log.stats.events_read == caught_up + 10  # the tail's own


async def test_a_burst_larger_than_the_ring_reaches_everybody(log: InMemoryEventLog) -> None:
    async with Tail(log, capacity=5_000) as tail:
        takers = [asyncio.create_task(take(tail.subscribe(after=0), 1000)) for _ in range(3)]
        await asyncio.sleep(0)
        await log.append("ev.g.o.t.b", [happened() for _ in range(1000)], expected_position=0)
        for taker in takers:
            assert await asyncio.wait_for(taker, 5) == list(range(1, 1001))


async def test_waiting_for_a_position(log: InMemoryEventLog) -> None:
    await fill(log, 3)
    async with Tail(log) as tail:
        assert await tail.wait_for(3, 0)
        assert not await tail.wait_for(4, 0.01)
        waiters = [asyncio.create_task(tail.wait_for(n, 10)) for n in (9, 5, 7, 6, 4)]
        given_up = asyncio.create_task(tail.wait_for(8, 10))
        await asyncio.sleep(0)
        given_up.cancel()
        await fill(log, 4)
        assert await asyncio.gather(*waiters[1:]) == [True] * 4
        assert not waiters[0].done()
        await fill(log, 2)
        assert await waiters[0]


async def test_a_sign_of_life_makes_a_silent_tail_young(log: InMemoryEventLog) -> None:
    async with Tail(log) as tail:
        old = tail.age
        while tail.age >= old:
            old = tail.age
            await asyncio.sleep(0.01)


async def test_closing_ends_subscriptions_and_waiting(log: InMemoryEventLog) -> None:
    tail = Tail(log)
    await tail.start()
    waiting = asyncio.create_task(tail.wait_for(1, 30))
    subscribed = asyncio.create_task(take(tail.subscribe(after=0), 1))
    await asyncio.sleep(0)
    await tail.close()
    assert await waiting is False
    assert await subscribed == []
    assert await tail.wait_for(1, 30) is False


async def test_a_log_that_ends_before_the_tail_began_is_told_to_everybody(log: InMemoryEventLog) -> None:
    async with Tail(log, after=5) as tail:
        with pytest.raises(PositionAhead):
            await tail.wait_for(6, 10)
        with pytest.raises(PositionAhead):
            await anext(tail.subscribe(after=5))


async def test_subscribing_past_the_end_of_the_log_is_an_error(log: InMemoryEventLog) -> None:
    await fill(log, 3)
    async with Tail(log) as tail:
        with pytest.raises(PositionAhead):
            await anext(tail.subscribe(after=4))


async def test_a_tail_without_its_broker_says_so(fresh_nats: Broker) -> None:
    place = await new_place(fresh_nats)
    async with place.log(attempt_timeout=0.2) as log:
        fresh_nats.kill()
        with pytest.raises(LogUnavailable):
            await Tail(log).start()


async def test_a_tail_outlives_its_broker(fresh_nats: Broker) -> None:
    place = await new_place(fresh_nats)
    async with place.log(heartbeat=0.2) as log, Tail(log) as tail:
        taker = asyncio.create_task(take(tail.subscribe(after=0), 30))
        for n in range(30):
            await log.append(place.subject(f"t{n}"), [happened()], expected_position=0)
            if n % 10 == 5:
                fresh_nats.kill()
                fresh_nats.start()
        assert await asyncio.wait_for(taker, 20) == list(range(1, 31))
        assert await tail.wait_for(30, 1)


async def test_a_tail_closes_in_the_midst_of_a_flood(nats_server: Broker) -> None:
    place = await new_place(nats_server)
    async with place.log() as log:
        for n in range(10):
            await log.append(place.subject(f"t{n}"), [happened() for _ in range(500)], expected_position=0)
        for n in range(1, 5000, 250):
            async with Tail(log, after=0) as tail:
                assert await tail.wait_for(n, 30)
