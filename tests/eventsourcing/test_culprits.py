"""An append that can't land costs itself, and hardly anything to those that were sent with it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from event_logs import Happened, JsonCodec, connect, happened, new_place, whats
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.append_queue import BATCH_THRESHOLD
from remote_claude.eventsourcing.log import AppendRefused, ConcurrencyConflict, EventTooLarge
from remote_claude.runtime.embedded.nats import NatsServer, NatsUser, find_nats
from servers import Broker, OwnServer, scratch_home


@pytest.fixture
def brokers() -> Iterator[tuple[Broker, Broker]]:
    """One broker by two credentials: one may do everything, the other not append as `scheduler`."""
    users = [NatsUser(name="all"), NatsUser(name="some", deny_publish=["*.scheduler.>"])]
    with scratch_home() as home:
        spec = NatsServer(folder=home.nats, port=home.port("nats"), users=users, binary=find_nats())
        server = OwnServer(spec.prepare(), spec.answers, home.log)
        yield (
            Broker(server, spec.url, spec.seed_file("all")),
            Broker(server, spec.url, spec.seed_file("some")),
        )
        server.stop()


@pytest.mark.parametrize("n", [1, 8, 40])
async def test_what_is_not_permitted_is_refused_at_once(brokers: tuple[Broker, Broker], n: int) -> None:
    place = await new_place(brokers[0])
    place.broker = brokers[1]
    async with place.log() as log:
        answers: list[Any] = await asyncio.gather(
            *(
                log.append(
                    place.subject(f"t{i}", "scheduler" if i == 0 else "gateway"),
                    [happened()],
                    expected_position=0,
                )
                for i in range(n)
            ),
            return_exceptions=True,
        )
        assert isinstance(answers[0], AppendRefused)
        assert "permit" in str(answers[0])
        assert sorted(answers[1:]) == list(range(1, n))
        assert log.stats.retries in (0, n - 1)  # those of one batch, once


class Texts(JsonCodec):
    """Gives text instead of bytes, which no frame takes."""

    def encode(self, event: Happened) -> tuple[str, int, Any]:
        name, version, data = super().encode(event)
        return name, version, data.decode() if event.what == "text" else data


@pytest.mark.parametrize("appends", [1, 40, BATCH_THRESHOLD])
async def test_what_no_frame_can_be_made_of_fails_its_group_and_nothing_after_it(
    nats_server: Broker, appends: int
) -> None:
    place = await new_place(nats_server)
    place.codec = Texts()
    async with place.log() as log:
        answers = await asyncio.gather(
            *(
                log.append(place.subject(f"t{n}"), [happened("x" if n else "text")], expected_position=0)
                for n in range(appends)
            ),
            return_exceptions=True,
        )
        failed = appends if appends < BATCH_THRESHOLD else BATCH_THRESHOLD // 2
        assert all(isinstance(answer, TypeError) for answer in answers[:failed])
        assert answers[failed:] == list(range(1, appends - failed + 1))
        assert await log.append(place.subject("next"), [happened()], expected_position=0) > 0


@pytest.mark.parametrize("appends", [1, 40, BATCH_THRESHOLD])
async def test_a_write_that_fails_as_nobody_expects_fails_its_group_and_nothing_after_it(
    nats_server: Broker, appends: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await new_place(nats_server)
    client = await connect(nats_server)
    async with JetStreamEventLog(client, place.codec, stream=place.stream, prefix=place.prefix) as log:
        await log.append(place.subject("first"), [happened()], expected_position=0)
        assert client._transport is not None
        write = client._transport.write

        def once(frames: bytes) -> None:
            monkeypatch.setattr(client._transport, "write", write)
            raise MemoryError

        monkeypatch.setattr(client._transport, "write", once)
        answers = await asyncio.gather(
            *(log.append(place.subject(f"t{n}"), [happened()], expected_position=0) for n in range(appends)),
            return_exceptions=True,
        )
        failed = appends if appends < BATCH_THRESHOLD else BATCH_THRESHOLD // 2
        assert all(isinstance(answer, MemoryError) for answer in answers[:failed])
        assert answers[failed:] == list(range(2, appends - failed + 2))
        assert await log.append(place.subject("next"), [happened()], expected_position=0) > 0
    await client.close()


@pytest.mark.parametrize("events", [1, 2])
async def test_a_refused_append_of_many_is_found_by_halves(nats_server: Broker, events: int) -> None:
    place = await new_place(nats_server)
    client = await connect(nats_server)
    js = client.jetstream()
    config = (await js.stream_info(place.stream)).config
    config.max_msg_size = 2000
    await js.update_stream(config)
    await client.close()
    async with place.log() as log:
        answers: list[Any] = await asyncio.gather(
            *(
                log.append(
                    place.subject(f"t{n}"),
                    [happened("x" * (3000 if n == 77 else 10)) for _ in range(events)],
                    expected_position=0,
                )
                for n in range(400)
            ),
            return_exceptions=True,
        )
        assert isinstance(answers.pop(77), AppendRefused)
        assert sorted(answers) == [events * n for n in range(1, 400)]
        assert log.stats.batches < 40


async def test_appends_that_have_been_superseded_spoil_no_batch(nats_server: Broker) -> None:
    """Of many that wait for the same position one lands; the others need not be tried."""
    place = await new_place(nats_server)
    async with place.log() as log:
        contested = [
            log.append(place.subject("contested"), [happened(str(n))], expected_position=0) for n in range(30)
        ]
        others = [log.append(place.subject(f"t{n}"), [happened()], expected_position=0) for n in range(30)]
        answers = await asyncio.gather(*contested, *others, return_exceptions=True)
        lost = [answer for answer in answers if isinstance(answer, ConcurrencyConflict)]
        assert len(lost) == 29
        assert {conflict.actual for conflict in lost} == {answers[0]}
        assert log.stats.retries == 0
        assert whats(await log.read_stream(place.subject("contested"))) == ["0"]


async def test_the_same_append_twice_at_once_is_one(nats_server: Broker) -> None:
    place = await new_place(nats_server)
    async with place.log() as log:
        new = [happened("1"), happened("2")]
        appends = (log.append(place.subject("a"), new, expected_position=0) for _ in range(5))
        assert await asyncio.gather(*appends) == [2] * 5
        assert await log.last_position() == 2


async def test_an_envelope_that_the_broker_would_hang_up_on_is_refused(nats_server: Broker) -> None:
    place = await new_place(nats_server)
    async with place.log() as log:
        with pytest.raises(EventTooLarge, match="envelope"):
            await log.append(place.subject("a"), [happened(subject="x" * 20_000)], expected_position=0)
        assert (
            await log.append(place.subject("a"), [happened(subject="x" * 10_000)], expected_position=0) == 1
        )


async def test_a_position_that_never_was_is_a_conflict(nats_server: Broker) -> None:
    """By the leader's word, also beside others of a batch, whose streams are further on."""
    place = await new_place(nats_server)
    async with place.log() as log:
        await log.append(place.subject("a"), [happened(), happened()], expected_position=0)
        answers: list[Any] = await asyncio.gather(
            log.append(place.subject("a"), [happened()], expected_position=1),
            log.append(place.subject("b"), [happened(), happened()], expected_position=9),
            *(log.append(place.subject(f"t{n}"), [happened()], expected_position=0) for n in range(20)),
            return_exceptions=True,
        )
        assert [getattr(answer, "actual", None) for answer in answers[:2]] == [2, 0]
        assert sorted(answers[2:]) == list(range(3, 23))
