"""What goes over the wire is what any NATS client and any CloudEvents reader understands."""

import asyncio
from random import Random

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from event_logs import JsonCodec, Proxy, connect, everything, happened, new_place, until
from remote_claude.eventsourcing.cloudevents import decode_event, encode_headers
from remote_claude.eventsourcing.events import NewEvent
from remote_claude.eventsourcing.jetstream import JetStreamEventLog, fast_connection
from remote_claude.eventsourcing.jetstream.direct_get import BATCH
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.log import LogUnavailable
from remote_claude.eventsourcing.message_frames import parse_headers, status
from remote_claude.eventsourcing.tail import Tail
from servers import Broker

texts = st.text() | st.from_regex(r"[a-z0-9_:/%+\"\r\n -]*", fullmatch=True)
maybe = st.none() | texts


@given(
    event_id=texts.filter(bool),
    subject=maybe,
    correlation_id=maybe,
    causation_id=maybe,
    cause=st.none() | st.integers(min_value=0, max_value=2**64),
    traceparent=maybe,
)
def test_every_envelope_survives_its_headers(**envelope: str | int | None) -> None:
    new = NewEvent(event=None, occurred_at="2026-01-02T03:04:05.000006Z", **envelope)  # type: ignore[arg-type]
    block = b"NATS/1.0\r\n" + encode_headers(new, "gateway", "Happened", 3) + b"\r\n"
    assert block.isascii()
    event = decode_event(1, "ev.gateway.o.task.t", block, b"{}", JsonCodec())
    for name, value in envelope.items():
        assert getattr(event, name) == value
    assert (event.type, event.version, event.occurred_at) == ("Happened", 3, new.occurred_at)
    assert Client._parse_header_lines(block[10:]) == parse_headers(block)


@given(order=st.randoms(use_true_random=False), spaces=st.sampled_from([": ", ":"]))
def test_the_same_headers_in_any_order_and_spelling_are_the_same_event(order: Random, spaces: str) -> None:
    new = happened("x", subject="t", correlation_id="c", causation_id="d", cause=7, traceparent="00-a-b-01")
    lines = encode_headers(new, "gateway", "Happened", 3).decode().splitlines()
    ours = "NATS/1.0\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
    order.shuffle(lines)
    foreign = ours[:10] + "".join(line.replace(": ", spaces, 1) + "\r\n" for line in lines) + "\r\n"
    events = [decode_event(1, "ev.a.o.t.1", b.encode(), b"{}", JsonCodec()) for b in (ours, foreign)]
    for name in (
        "event_id",
        "type",
        "version",
        "occurred_at",
        "subject",
        "correlation_id",
        "causation_id",
        "cause",
    ):
        assert getattr(events[0], name) == getattr(events[1], name) is not None
    assert events[0].traceparent == events[1].traceparent


def test_headers_of_other_writers_are_understood() -> None:
    block = b"NATS/1.0 100 Idle Heartbeat\r\nA:1\r\nB:  2 \r\nC\r\n\r\n"
    assert parse_headers(block) == {"A": "1", "B": "2", "C": ""}
    assert status(block) == 100
    assert status(b"NATS/1.0\r\nA: 1\r\n\r\n") == status(b"") == 0


async def test_an_event_is_a_cloudevent_for_any_client(nats_server: Broker) -> None:
    place = await new_place(nats_server)
    new = happened(
        "it", subject="task_1", correlation_id="c", causation_id="d", cause=7, traceparent="00-a-b-01"
    )
    async with place.log() as log:
        await log.append(place.subject("a"), [new], expected_position=0)
    client = await nats.connect(**nats_server.options)
    message = await client.jetstream().get_msg(place.stream, 1, direct=True)
    assert message.subject == place.subject("a")
    assert message.data == b'{"what":"it"}'
    assert message.headers is not None
    assert {name: value for name, value in message.headers.items() if not name.startswith("Nats-")} == {
        "ce-specversion": "1.0",
        "ce-id": new.event_id,
        "ce-source": "gateway",
        "ce-type": "Happened",
        "ce-time": new.occurred_at,
        "ce-dataschema": "remote-claude:Happened:1",
        "ce-subject": "task_1",
        "ce-correlationid": "c",
        "ce-causationid": "d",
        "ce-cause": "7",
        "traceparent": "00-a-b-01",
    }
    await client.close()


async def test_a_message_that_is_no_event_is_read_without_a_type(nats_server: Broker) -> None:
    place = await new_place(nats_server)
    client = await connect(nats_server)
    await client.request(place.subject("a"), b"?", timeout=10)
    async with place.log() as log:
        assert await log.append(place.subject("a"), [happened()], expected_position=1) == 2
        assert [event.type for event in await everything(log)] == ["", "Happened"]
    await client.close()


async def test_a_client_library_of_another_shape_is_used_by_its_public_api(
    nats_server: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await connect(nats_server)
    monkeypatch.setattr(fast_connection, "PRIVATE", ("_ps", "_gone"))
    assert type(Wire.over(client)) is Wire
    await client.close()


async def test_others_use_the_connection_as_before(nats_server: Broker) -> None:
    place = await new_place(nats_server)
    client = await connect(nats_server)
    logs = [
        JetStreamEventLog(client, place.codec, stream=place.stream, prefix=place.prefix) for _ in range(2)
    ]
    assert Wire.over(client) is Wire.over(client)
    assert type(Wire.over(client)) is fast_connection.FastWire
    for n, log in enumerate(logs):
        await log.append(place.subject(f"t{n}"), [happened()], expected_position=0)
    subscription = await client.subscribe("ordinary")
    await client.publish("ordinary", b"yes", headers={"a": "b"})
    message = await subscription.next_msg(timeout=10)
    assert (message.data, message.headers) == (b"yes", {"a": "b"})
    assert (await client.jetstream().stream_info(place.stream)).state.messages == 2
    for log in logs:
        await log.close()
    await client.close()


async def test_a_caller_that_asks_again_at_once_lets_the_connection_come_back(nats_server: Broker) -> None:
    place, failures = await new_place(nats_server), 0
    async with Proxy(nats_server) as proxy, place.log(url=proxy.url) as log:
        assert await log.read_stream(place.subject("a")) == []
        proxy.cut()
        await asyncio.sleep(0)
        while True:
            try:
                assert await log.read_stream(place.subject("a")) == []
            except LogUnavailable:
                failures += 1
            else:
                break
    assert failures > 0


@pytest.mark.parametrize("number", ["²", "%C2%B2", "1" * 5000, "-1", "x"])
async def test_a_number_that_is_none_stops_no_reader(nats_server: Broker, number: str) -> None:
    place = await new_place(nats_server)
    client = await connect(nats_server)
    headers = {"ce-id": "1", "ce-type": "T", "ce-dataschema": f"x:{number}", "ce-cause": number}
    await client.jetstream().publish(place.subject("a"), b"{}", headers=headers)
    await client.close()
    async with place.log() as log:
        [event] = await everything(log)
        assert [read.position for read in await log.read_stream(place.subject("a"))] == [1]
    assert (event.type, event.version, event.cause) == ("T", 0, None)


async def test_a_replica_that_comes_nearer_bit_by_bit_lacks_nothing(nats_server: Broker) -> None:
    """One broker plays the replica: it has what it has, and gets the rest while it is asked again."""
    place = await new_place(nats_server)
    stream = place.subject("a")
    async with place.log() as log:
        assert await log.append(stream, [happened()], expected_position=0) == 1
        reading = asyncio.create_task(log._direct.history(stream, reaching=3))
        for position in (1, 2):
            await asyncio.sleep(0.1)
            await log.append(stream, [happened()], expected_position=position)
        assert [event.position for event in await reading] == [1, 2, 3]


async def test_a_replica_that_lacks_what_another_has_shown_is_behind_and_the_log_is_whole(
    nats_server: Broker,
) -> None:
    """A mirror that is full plays the replica: it answers about half of all reads, and has one page of two."""
    place = await new_place(nats_server)
    stream = place.subject("a")
    async with place.log() as log:

        async def append(many: int, position: int) -> None:
            for at in range(position, position + many, 500):
                await log.append(stream, [happened() for _ in range(500)], expected_position=at)

        await append(BATCH, 0)
        mirror = {
            "name": f"{place.stream}-behind",
            "mirror": {"name": place.stream},
            "mirror_direct": True,
            "max_msgs": BATCH,
            "discard": "new",
        }
        assert "error" not in await log._direct._wire.api(f"STREAM.CREATE.{mirror['name']}", mirror)
        info = f"STREAM.INFO.{mirror['name']}"
        await until(lambda: _holds(log, info, BATCH))
        await append(500, BATCH)
        lengths = {len(await log._direct.history(stream)) for _ in range(100)}
        assert lengths == {BATCH, 1500}
        for _ in range(20):
            assert len(await log._direct.history(stream, reaching=1500)) == 1500


async def _holds(log: JetStreamEventLog, info: str, messages: int) -> bool:
    answer = await log._direct._wire.api(info, {})
    return bool(answer["state"]["messages"] == messages)


async def test_the_last_events_of_many_streams_are_all_found_however_large(nats_server: Broker) -> None:
    """The broker cuts an answer off at 64 MB."""
    place = await new_place(nats_server)
    streams, large = [place.subject(str(n)) for n in range(300)], happened("x" * 250_000)
    async with place.log() as log:
        for n in range(0, len(streams), 15):
            few = (log.append(stream, [large], expected_position=0) for stream in streams[n : n + 15])
            await asyncio.gather(*few)
        lasts = await log._direct.lasts(streams)
    assert sorted(last.position for last in lasts.values()) == list(range(1, 301))


async def test_readers_are_counted_among_any_number_of_consumers(nats_server: Broker) -> None:
    """The broker lists 256 at a time, by name."""
    place = await new_place(nats_server)
    async with place.log(name="z") as log, Tail(log):
        await until(lambda: _reads(log))
        wire = log._direct._wire
        for n in range(300):
            config = {"name": f"a-{n}", "ack_policy": "none", "mem_storage": True}
            request = {"stream_name": place.stream, "config": config, "action": "create"}
            assert "error" not in await wire.api(f"CONSUMER.CREATE.{place.stream}.a-{n}", request)
        assert await log.readers() == 1


async def _reads(log: JetStreamEventLog) -> bool:
    return await log.readers() == 1
