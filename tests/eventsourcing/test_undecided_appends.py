"""An append whose answer is lost, late or no decision still lands once, or conflicts once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from event_logs import Place, Proxy, connect, everything, happened, new_place, until, whats
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.log import AppendRefused, ConcurrencyConflict, EventLog, LogUnavailable
from servers import Broker


@pytest.fixture
async def place(nats_server: Broker) -> Place:
    return await new_place(nats_server)


@pytest.fixture
async def proxy(nats_server: Broker) -> AsyncIterator[Proxy]:
    async with Proxy(nats_server) as proxy:
        yield proxy


@pytest.fixture
async def log(place: Place, proxy: Proxy) -> AsyncIterator[JetStreamEventLog]:
    """A log behind the proxy, warmed up so that what comes next on the wire is an append."""
    async with place.log(url=proxy.url) as log:
        await log.append(place.subject("warm"), [happened("warm")], expected_position=0)
        yield log


@pytest.fixture
async def witness(place: Place) -> AsyncIterator[JetStreamEventLog]:
    """Another process, with a connection of its own."""
    async with place.log() as log:
        yield log


async def holds(log: EventLog, events: int) -> bool:
    return await log.last_position() == events


@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize("events", [1, 2])
async def test_an_append_whose_answer_was_cut_off_has_landed_once(
    place: Place, proxy: Proxy, log: JetStreamEventLog, witness: EventLog, n: int, events: int
) -> None:
    proxy.drops_answers = True
    appends = [
        asyncio.create_task(
            log.append(
                place.subject(f"t{i}"), [happened(f"{i}/{k}") for k in range(events)], expected_position=0
            )
        )
        for i in range(n)
    ]
    await until(lambda: holds(witness, 1 + n * events))
    await witness.append(
        place.subject("later"), [happened()], expected_position=0
    )  # the answer is out by now
    proxy.cut()
    positions = await asyncio.gather(*appends)
    recorded = await everything(witness, after=1, until=1 + n * events)
    assert {event.position: event.event.what for event in recorded if event.position in positions} == {
        position: f"{i}/{events - 1}" for i, position in enumerate(positions)
    }
    assert await holds(witness, n * events + 2)
    assert log.stats.landed_before == n


async def test_others_may_write_before_the_lost_answer_is_looked_for(
    place: Place, proxy: Proxy, log: JetStreamEventLog, witness: EventLog
) -> None:
    stream = place.subject("a")
    proxy.drops_answers = True
    append = asyncio.create_task(log.append(stream, [happened("ours")], expected_position=0))
    await until(lambda: holds(witness, 2))
    await witness.append(stream, [happened("theirs"), happened("theirs")], expected_position=2)
    proxy.cut()
    assert await append == 2


async def test_an_append_that_never_arrived_conflicts_with_what_came_instead(
    place: Place, proxy: Proxy, log: JetStreamEventLog, witness: EventLog
) -> None:
    stream, other = place.subject("a"), place.subject("b")
    proxy.passes = 0
    append = asyncio.create_task(log.append(stream, [happened("ours")], expected_position=0))
    beside = asyncio.create_task(log.append(other, [happened("beside")], expected_position=0))
    await until(lambda: proxy.swallowed > 0)
    assert await witness.append(stream, [happened("theirs")], expected_position=0) == 2
    proxy.cut()
    with pytest.raises(ConcurrencyConflict) as conflict:
        await append
    assert conflict.value.actual == 2
    assert await beside == 3


@pytest.mark.parametrize("passes", [1_000, 20_000, 40_000])
async def test_half_a_batch_is_sent_again_whole(
    place: Place, proxy: Proxy, log: JetStreamEventLog, witness: EventLog, passes: int
) -> None:
    proxy.passes = passes
    events = [happened("x" * 500) for _ in range(100)]
    append = asyncio.create_task(log.append(place.subject("a"), events, expected_position=0))
    await until(lambda: proxy.swallowed > 0)
    proxy.cut()
    assert await append == 101
    assert [event.event_id for event in await witness.read_stream(place.subject("a"))] == [
        e.event_id for e in events
    ]


async def test_an_answer_that_does_not_come_in_time_is_asked_for_again(
    place: Place, proxy: Proxy, witness: EventLog
) -> None:
    async with place.log(url=proxy.url, attempt_timeout=0.3) as log:
        await log.append(place.subject("warm"), [happened()], expected_position=0)
        proxy.drops_answers = True
        append = asyncio.create_task(log.append(place.subject("a"), [happened()], expected_position=0))
        await until(lambda: holds(witness, 2))
        proxy.drops_answers = False
        assert await append == 2
        assert log.stats.retries == 1
        assert await holds(witness, 2)


async def test_a_log_out_of_reach_is_unavailable_after_the_bound(fresh_nats: Broker) -> None:
    place = await new_place(fresh_nats)
    async with place.log(bound=0.5, attempt_timeout=0.2) as log:
        await log.append(place.subject("a"), [happened("1")], expected_position=0)
        new = [happened("2")]
        fresh_nats.kill()
        answers = await asyncio.gather(
            *(
                log.append(place.subject(s), new, expected_position=p)
                for s, p in (("a", 1), ("b", 0), ("b", 0))
            ),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [LogUnavailable] * 3
        fresh_nats.start()
        while True:
            with suppress(LogUnavailable):
                assert await log.append(place.subject("a"), new, expected_position=1) == 2
                break
        assert whats(await everything(log)) == ["1", "2"]


async def test_a_log_without_its_stream_is_unavailable(nats_server: Broker) -> None:
    place = Place(nats_server, "NOWHERE", "nowhere")
    async with place.log(bound=0.3) as log:
        with pytest.raises(LogUnavailable, match="no stream listens"):
            await log.append(place.subject("a"), [happened()], expected_position=0)
        with pytest.raises(LogUnavailable, match="NOWHERE"):
            await everything(log)


async def test_a_closed_connection_is_unavailable_at_once(nats_server: Broker, place: Place) -> None:
    client = await connect(nats_server)
    log = JetStreamEventLog(client, place.codec, stream=place.stream, prefix=place.prefix)
    await log.append(place.subject("a"), [happened()], expected_position=0)
    await client.close()
    with pytest.raises(LogUnavailable, match="closed"):
        await log.append(place.subject("a"), [happened()], expected_position=1)
    with pytest.raises(LogUnavailable):
        await everything(log)


async def test_closing_finishes_what_waits_and_takes_no_more(place: Place) -> None:
    async with place.log() as log:
        appends = [
            asyncio.create_task(log.append(place.subject(f"t{n}"), [happened()], expected_position=0))
            for n in range(50)
        ]
        await asyncio.sleep(0)
        await log.close()
        assert sorted(append.result() for append in appends) == list(range(1, 51))
        with pytest.raises(LogUnavailable, match="closed"):
            await log.append(place.subject("late"), [happened()], expected_position=0)


async def test_a_full_queue_makes_callers_wait(place: Place, proxy: Proxy) -> None:
    async with place.log(url=proxy.url, capacity=5) as log:
        await log.append(place.subject("warm"), [happened()], expected_position=0)
        proxy.drops_answers = True
        appends = [
            asyncio.create_task(log.append(place.subject(f"t{n}"), [happened()], expected_position=0))
            for n in range(20)
        ]
        await until(lambda: log.waiting == 5)
        proxy.cut()
        assert sorted(await asyncio.gather(*appends)) == list(range(2, 22))


async def test_too_many_open_batches_are_waited_out(nats_server: Broker, place: Place) -> None:
    client = await connect(nats_server)
    for n in range(50):
        await client.publish(
            place.subject(f"dead{n}"),
            b"{}",
            headers={"Nats-Batch-Id": f"dead{n}", "Nats-Batch-Sequence": "1"},
        )
    await client.flush()
    async with place.log() as log:
        append = asyncio.create_task(
            log.append(place.subject("a"), [happened("1"), happened("2")], expected_position=0)
        )
        single = asyncio.create_task(log.append(place.subject("b"), [happened("3")], expected_position=0))
        await until(lambda: log.stats.retries > 0)
        for n in range(50):  # a dead writer's batches end by themselves after ten seconds
            await client.publish(
                place.subject(f"dead{n}"),
                b"{}",
                headers={"Nats-Batch-Id": f"dead{n}", "Nats-Batch-Sequence": "3", "Nats-Batch-Commit": "1"},
            )
        await asyncio.gather(append, single)
        assert sorted(whats(await everything(log))) == ["1", "2", "3"]
    await client.close()


async def test_a_refused_append_does_not_hurt_its_neighbours(nats_server: Broker, place: Place) -> None:
    client = await connect(nats_server)
    js = client.jetstream()
    config = (await js.stream_info(place.stream)).config
    config.max_msg_size = 2000
    await js.update_stream(config)
    async with place.log() as log:
        answers: list[Any] = await asyncio.gather(
            *(
                log.append(
                    place.subject(f"t{n}"), [happened("x" * (3000 if n == 7 else 10))], expected_position=0
                )
                for n in range(40)
            ),
            return_exceptions=True,
        )
        refused = answers.pop(7)
        assert isinstance(refused, AppendRefused)
        assert sorted(answers) == list(range(1, 40))
    await client.close()


async def test_however_long_nobody_answers_appends_go_on_afterwards(place: Place, proxy: Proxy) -> None:
    async with place.log(url=proxy.url, bound=1.0, attempt_timeout=0.2) as log:
        await log.append(place.subject("warm"), [happened()], expected_position=0)
        log._committer._failures = 1023  # as after some eight minutes of it
        proxy.drops_answers = True
        with pytest.raises(LogUnavailable):
            await log.append(place.subject("lost"), [happened()], expected_position=0)
        proxy.cut()
        assert await log.append(place.subject("warm"), [happened()], expected_position=1) > 1
