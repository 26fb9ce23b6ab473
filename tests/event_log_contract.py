"""What every event log has to do, inherited by the tests of each."""

import asyncio
from contextlib import aclosing

import pytest

from event_logs import Happened, everything, happened, whats
from remote_claude.eventsourcing.log import (
    MAX_BATCH_EVENTS,
    MAX_EVENT_BYTES,
    MAX_HEADER_BYTES,
    ConcurrencyConflict,
    EventLog,
    EventTooLarge,
    PositionAhead,
)

HEARTBEAT = 0.2


class EventLogContract:
    """Subclasses give the fixtures `log`, an empty log with heartbeats of `HEARTBEAT` seconds, and `prefix`."""

    @pytest.fixture
    def a(self, prefix: str) -> str:
        return f"{prefix}.gateway.org_1.task.a"

    @pytest.fixture
    def b(self, prefix: str) -> str:
        return f"{prefix}.scheduler.org_2.org.b"

    async def test_an_appended_event_is_read_back_whole(self, log: EventLog, a: str) -> None:
        new = happened(
            "first",
            subject='task 1 % "quoted" \r\nce-id: forged',
            correlation_id="c",
            causation_id="d",
            cause=7,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        position = await log.append(a, [new], expected_position=0)
        [event] = await log.read_stream(a)
        assert [event.event_id for event in await everything(log)] == [new.event_id]
        assert (event.position, event.stream, event.event) == (position, a, Happened("first"))
        assert (event.type, event.version, event.organisation) == ("Happened", 1, "org_1")
        for name in (
            "event_id",
            "occurred_at",
            "subject",
            "correlation_id",
            "causation_id",
            "cause",
            "traceparent",
        ):
            assert getattr(event, name) == getattr(new, name), name

    async def test_what_an_event_does_not_say_is_none(self, log: EventLog, a: str) -> None:
        await log.append(a, [happened()], expected_position=0)
        [event] = await log.read_stream(a)
        assert (event.subject, event.correlation_id, event.causation_id, event.cause, event.traceparent) == (
            None,
        ) * 5

    async def test_an_append_answers_the_position_of_its_last_event(
        self, log: EventLog, a: str, b: str
    ) -> None:
        assert await log.append(a, [happened("1")], expected_position=0) == 1
        assert await log.append(b, [happened("2"), happened("3"), happened("4")], expected_position=0) == 4
        assert await log.append(a, [happened("5"), happened("6")], expected_position=1) == 6
        assert await log.last_position() == 6
        assert whats(await log.read_stream(a)) == ["1", "5", "6"]
        assert [event.position for event in await log.read_stream(b)] == [2, 3, 4]

    async def test_a_stale_append_is_a_conflict_and_leaves_nothing(self, log: EventLog, a: str) -> None:
        await log.append(a, [happened("1")], expected_position=0)
        for expected in (0, 2):
            with pytest.raises(ConcurrencyConflict) as conflict:
                await log.append(a, [happened("2"), happened("3")], expected_position=expected)
            assert (conflict.value.stream, conflict.value.expected, conflict.value.actual) == (a, expected, 1)
        assert whats(await everything(log)) == ["1"]

    async def test_expecting_events_in_an_empty_stream_is_a_conflict(
        self, log: EventLog, a: str, b: str
    ) -> None:
        await log.append(b, [happened()], expected_position=0)
        with pytest.raises(ConcurrencyConflict) as conflict:
            await log.append(a, [happened()], expected_position=1)
        assert conflict.value.actual == 0

    async def test_appending_the_same_ids_again_answers_where_they_are(self, log: EventLog, a: str) -> None:
        new = [happened("1"), happened("2")]
        assert await log.append(a, new, expected_position=0) == 2
        assert await log.append(a, new, expected_position=0) == 2
        await log.append(a, [happened("3")], expected_position=2)
        assert await log.append(a, new, expected_position=0) == 2
        assert whats(await everything(log)) == ["1", "2", "3"]

    async def test_half_of_the_ids_is_a_conflict(self, log: EventLog, a: str) -> None:
        new = [happened("1"), happened("2")]
        await log.append(a, new[:1], expected_position=0)
        with pytest.raises(ConcurrencyConflict):
            await log.append(a, new, expected_position=0)

    async def test_of_concurrent_appends_to_one_stream_one_wins(self, log: EventLog, a: str) -> None:
        answers = await asyncio.gather(
            *(log.append(a, [happened(str(n))], expected_position=0) for n in range(30)),
            return_exceptions=True,
        )
        assert [answer for answer in answers if isinstance(answer, int)] == [1]
        assert sum(isinstance(answer, ConcurrencyConflict) for answer in answers) == 29
        assert len(await everything(log)) == 1

    async def test_concurrent_appends_each_get_their_own_position(self, log: EventLog, prefix: str) -> None:
        """Few and many at once, of one event and of several, with conflicts among them."""
        for n in (3, 40, 700):
            start = await log.last_position()
            streams = [f"{prefix}.gateway.org_1.task.t{n}-{i}" for i in range(n)]
            sizes = [1 + (i % 7 == 0) * (i % 3) for i in range(n)]
            taken = set(streams[5::50])
            for stream in taken:
                await log.append(stream, [happened("before")], expected_position=0)
            answers = await asyncio.gather(
                *(
                    log.append(stream, [happened(f"{stream}/{k}") for k in range(size)], expected_position=0)
                    for stream, size in zip(streams, sizes, strict=True)
                ),
                return_exceptions=True,
            )
            events = {event.position: event for event in await everything(log, after=start)}
            for stream, size, answer in zip(streams, sizes, answers, strict=True):
                if stream in taken:
                    assert isinstance(answer, ConcurrencyConflict)
                    continue
                assert isinstance(answer, int)
                mine = [events[answer - size + 1 + k] for k in range(size)]
                assert whats(mine) == [f"{stream}/{k}" for k in range(size)]
                assert {event.stream for event in mine} == {stream}

    async def test_a_second_append_follows_the_first_in_the_same_queue(
        self, log: EventLog, prefix: str
    ) -> None:
        """Positions are foreseen here, as nobody else appends."""
        streams = [f"{prefix}.gateway.org_1.task.s{i}" for i in range(20)]
        first = [log.append(stream, [happened("1")], expected_position=0) for stream in streams]
        second = [log.append(s, [happened("2")], expected_position=i + 1) for i, s in enumerate(streams)]
        assert sorted(await asyncio.gather(*first, *second)) == list(range(1, 41))

    async def test_what_is_too_large_is_refused_before_the_broker(self, log: EventLog, a: str) -> None:
        most = "x" * (MAX_EVENT_BYTES - len('{"what":""}'))
        await log.append(a, [happened(most)], expected_position=0)
        with pytest.raises(EventTooLarge):
            await log.append(a, [happened(most + "x")], expected_position=1)
        with pytest.raises(EventTooLarge):
            await log.append(a, [happened()] * (MAX_BATCH_EVENTS + 1), expected_position=1)
        with pytest.raises(EventTooLarge):
            await log.append(a, [happened(most)] * 17, expected_position=1)
        with pytest.raises(EventTooLarge):
            await log.append(a, [happened(subject="x" * MAX_HEADER_BYTES)], expected_position=1)
        assert (
            await log.append(a, [happened(str(n)) for n in range(MAX_BATCH_EVENTS)], expected_position=1)
            == 1001
        )
        assert await log.append(a, [happened(most) for _ in range(16)], expected_position=1001) == 1017

    @pytest.mark.parametrize(
        "stream",
        [
            "",
            "ev",
            "{}.gateway",
            "{}.gateway.o.task.*",
            "{}.g.o.t.>",
            "{}.g.o.t.A",
            "other.g.o.t.a",
            "{}.g.o.t.a.b",
            "{}.g.o.t. a",
            "{}.g.o.t." + 5000 * "a",
        ],
    )
    async def test_what_is_no_stream_is_refused(self, log: EventLog, prefix: str, stream: str) -> None:
        with pytest.raises(ValueError, match="stream"):
            await log.append(stream.format(prefix), [happened()], expected_position=0)

    async def test_an_unguarded_append_is_refused(self, log: EventLog, a: str) -> None:
        with pytest.raises(ValueError, match="position"):
            await log.append(a, [happened()], expected_position=-1)
        with pytest.raises(ValueError, match="no events"):
            await log.append(a, [], expected_position=0)

    async def test_a_stream_is_read_after_a_position(self, log: EventLog, a: str, b: str) -> None:
        await log.append(a, [happened("1"), happened("2")], expected_position=0)
        await log.append(b, [happened("3")], expected_position=0)
        await log.append(a, [happened("4")], expected_position=2)
        assert whats(await log.read_stream(a, after=2)) == ["4"]
        assert await log.read_stream(a, after=4) == []
        assert await log.read_stream(f"{a}x") == []

    async def test_a_long_stream_is_read_whole(self, log: EventLog, a: str) -> None:
        position = 0
        for _ in range(3):
            position = await log.append(
                a, [happened(str(position + n)) for n in range(900)], expected_position=position
            )
        assert whats(await log.read_stream(a)) == [str(n) for n in range(2700)]
        assert whats(await log.read_stream(a, after=850)) == [str(n) for n in range(850, 2700)]

    async def test_the_log_is_read_in_order_between_positions(self, log: EventLog, prefix: str) -> None:
        assert await everything(log) == []
        for n in range(5):
            stream = f"{prefix}.gateway.org_1.task.s{n}"
            await log.append(stream, [happened(f"{n}/{i}") for i in range(800)], expected_position=0)
        assert [event.position for event in await everything(log)] == list(range(1, 4001))
        assert [event.position for event in await everything(log, after=3990)] == list(range(3991, 4001))
        assert [event.position for event in await everything(log, after=10, until=2500)] == list(
            range(11, 2501)
        )
        assert [event.position for event in await everything(log, until=1)] == [1]
        assert await everything(log, after=4000) == []
        assert await everything(log, after=30, until=30) == []
        assert len(await everything(log, until=9999)) == 4000

    async def test_reading_takes_broker_wildcards(self, log: EventLog, a: str, b: str, prefix: str) -> None:
        await log.append(a, [happened("1")], expected_position=0)
        await log.append(b, [happened("2")], expected_position=0)
        await log.append(a, [happened("3")], expected_position=1)
        assert whats(await everything(log, subjects=f"{prefix}.scheduler.>")) == ["2"]
        assert whats(await everything(log, subjects=f"{prefix}.gateway.>")) == ["1", "3"]
        assert whats(await everything(log, subjects=f"{prefix}.gateway.>", until=2)) == ["1"]
        assert whats(await everything(log, subjects=f"{prefix}.*.org_2.>")) == ["2"]
        assert await everything(log, subjects=f"{prefix}.billing.>") == []

    async def test_reading_ends_where_the_log_ended_when_it_began(self, log: EventLog, a: str) -> None:
        await log.append(a, [happened(), happened()], expected_position=0)
        seen = 0
        async for batch in log.read():
            seen += len(batch)
            await log.append(a, [happened()], expected_position=await log.last_position())
        assert seen == 2

    async def test_following_goes_on_with_what_comes(self, log: EventLog, a: str) -> None:
        await log.append(a, [happened("1"), happened("2")], expected_position=0)
        seen: list[str] = []
        async with aclosing(log.follow(after=1)) as batches:
            async for batch in batches:
                seen += whats(batch)
                if (last := seen[-1] if seen else "") == "5":
                    break
                if last and batch:
                    await log.append(a, [happened(str(int(last) + 1))], expected_position=int(last))
        assert seen == ["2", "3", "4", "5"]

    async def test_following_a_silent_log_shows_signs_of_life(self, log: EventLog, a: str) -> None:
        await log.append(a, [happened()], expected_position=0)
        signs = 0
        async with aclosing(log.follow(after=1)) as batches:
            async for batch in batches:
                assert batch == []
                signs += 1
                if signs == 4:
                    break

    async def test_reading_past_the_end_is_an_error(self, log: EventLog, a: str) -> None:
        await log.append(a, [happened()], expected_position=0)
        with pytest.raises(PositionAhead):
            await everything(log, after=2)
        with pytest.raises(PositionAhead):
            async with aclosing(log.follow(after=2)) as batches:
                await anext(batches)

    async def test_a_cancelled_append_troubles_nobody_else(self, log: EventLog, prefix: str) -> None:
        streams = [f"{prefix}.gateway.org_1.task.c{n}" for n in range(60)]
        tasks = [asyncio.create_task(log.append(s, [happened(s)], expected_position=0)) for s in streams]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, int) for answer in answers[1::2])
        assert set(streams[1::2]) <= set(whats(await everything(log)))
