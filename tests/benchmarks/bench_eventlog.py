"""The event log against the raw broker, in one run on one machine: `make bench FIGURE=log`.

The raw broker gets the same messages over one connection, and nothing reads its answers but a counter: guarded publishes
in flight or atomic batches, whichever is the faster at that concurrency. Once as bytes that were made beforehand,
the limit of the broker; and once with the events encoded as they are sent, the limit of any client like this one.
Rounds are interleaved, the median counts.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import nats.errors
import orjson
from nats.aio.client import Client
from readings import Reading, at_least, at_most

from event_logs import Place, connect, happened, new_place
from log_writers import Writers
from nats_cluster import running_cluster
from remote_claude.eventsourcing.cloudevents import encode_headers
from remote_claude.eventsourcing.events import NewEvent
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.wire import Wire, publish_frame
from remote_claude.runtime import host
from servers import Broker, running_nats

PAYLOAD = "x" * 290
ROUNDS = 5
CONCURRENT = (1, 8, 64, 500, 1000)
GUARD = b"Nats-Expected-Last-Subject-Sequence: 0\r\n"
NEEDED, NEEDED_READING = 0.7, 0.6

Frames = Callable[[str], bytes]
"""Bytes to send, given the subject for their one answer."""


def event() -> NewEvent:
    return happened(
        PAYLOAD,
        subject="task_01jdzzzzzzzzzzzzzzzzzzzzzz",
        correlation_id=str(uuid4()),
        causation_id=str(uuid4()),
        cause=1,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


class Raw:
    """The broker, and as little as can be in front of it."""

    def __init__(self, client: Client, place: Place) -> None:
        self.client, self.place, self.wire = client, place, Wire.over(client)

    def frames(self, size: int) -> Frames:
        """A guarded publish of one event, or one atomic batch."""
        batch_id = uuid4().hex.encode()
        events = [(self.place.subject(uuid4().hex), event()) for _ in range(size)]

        def make(reply: str) -> bytes:
            frames = []
            for n, (subject, new) in enumerate(events, 1):
                name, version, data = self.place.codec.encode(new.event)
                headers = GUARD + encode_headers(new, "gateway", name, version)
                if size > 1:
                    headers += b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: %d\r\n" % (batch_id, n)
                    headers += b"Nats-Batch-Commit: 1\r\n" if n == size else b""
                frames.append(publish_frame(subject, reply if n == size else "", headers, data))
            return b"".join(frames)

        return make

    async def rate(self, events: int, size: int, in_flight: int, *, encode: bool = False) -> float:
        """Events a second: `in_flight` requests of `size` events each, the next as soon as one is answered.

        With `encode` the bytes are made in time, else beforehand.
        """
        left = answered = 0
        done = asyncio.get_running_loop().create_future()

        def receive(_: bytes, data: bytes) -> None:
            nonlocal left, answered
            assert b"error" not in data, data
            answered += 1
            if left < len(ready):
                self.client._transport.write(ready[left]())
                left += 1
            if answered == len(ready):
                done.set_result(None)

        await self.wire.open()
        reply = self.wire.expect(receive)
        ready = [partial(self.frames(size), reply) for _ in range(max(1, events // size))]
        if not encode:
            ready = [partial(bytes, make()) for make in ready]
        started = time.perf_counter()
        left = min(in_flight, len(ready))
        self.client._transport.write(b"".join(make() for make in ready[:left]))
        await done
        self.wire.forget(reply)
        return len(ready) * size / (time.perf_counter() - started)

    async def best(self, events: int, concurrent: int, *, encode: bool = False) -> float:
        """The faster of the two ways."""
        singles = await self.rate(min(events, 100 * concurrent), 1, concurrent, encode=encode)
        batches = await self.rate(events, concurrent, 1, encode=encode) if concurrent > 1 else 0.0
        return max(singles, batches)

    async def read(self, events: int) -> float:
        """An ordered read by a pull consumer, its answers counted and forgotten."""
        api, stream, pull = "$JS.API.CONSUMER", self.place.stream, 2000
        config = {
            "ack_policy": "none",
            "deliver_policy": "all",
            "mem_storage": True,
            "inactive_threshold": 10**10,
        }
        request = orjson.dumps({"stream_name": stream, "config": config})
        answer = await self.client.request(f"{api}.CREATE.{stream}", request, timeout=10)
        ask = f"{api}.MSG.NEXT.{stream}.{orjson.loads(answer.data)['name']}"
        seen, more, done = 0, asyncio.Event(), asyncio.Event()

        def receive(*_: bytes) -> None:
            nonlocal seen
            seen += 1
            if seen % pull == 0:
                more.set()
            if seen == events:
                done.set()

        async def pulls() -> None:
            while True:
                await more.wait()
                more.clear()
                await self.client.publish(ask, b"%d" % pull, reply=listener.inbox)

        listener = await self.wire.listen(receive)
        started = time.perf_counter()
        await self.client.publish(ask, b"%d" % pull, reply=listener.inbox)
        more.set()
        pulling = asyncio.create_task(pulls())
        await done.wait()
        took = time.perf_counter() - started
        pulling.cancel()
        await listener.close()
        return events / took


class Ours:
    """The same through the event log."""

    def __init__(self, log: JetStreamEventLog, place: Place) -> None:
        self.log, self.place = log, place

    async def rate(self, events: int, concurrent: int) -> float:
        """Events a second by `concurrent` callers, each of which waits for its own answers."""
        work = [
            [(self.place.subject(uuid4().hex), event()) for _ in range(max(1, events // concurrent))]
            for _ in range(concurrent)
        ]

        async def caller(appends: Sequence[tuple[str, NewEvent]]) -> None:
            for stream, new in appends:
                await self.log.append(stream, [new], expected_position=0)

        started = time.perf_counter()
        await asyncio.gather(*(caller(appends) for appends in work))
        return sum(map(len, work)) / (time.perf_counter() - started)

    async def read(self, events: int) -> float:
        started = time.perf_counter()
        async for _ in self.log.read(until=events):
            pass
        return events / (time.perf_counter() - started)

    async def tail(self, events: int) -> float:
        started = time.perf_counter()
        async with Tail(self.log, after=0) as tail:
            assert await tail.wait_for(events, 60)
        return events / (time.perf_counter() - started)


@asynccontextmanager
async def both(broker: Broker) -> AsyncIterator[tuple[Ours, Raw]]:
    """Warm, on one stream."""
    place = await new_place(broker)
    client = await connect(broker)
    async with place.log() as log:
        ours, raw = Ours(log, place), Raw(client, place)
        await ours.rate(200, 1), await raw.rate(200, 1, 1)
        yield ours, raw
    await client.close()


async def appends(broker: Broker) -> list[Reading]:
    """Rates of appends, and of reading what has been appended."""
    readings = []
    async with both(broker) as (ours, raw):
        for concurrent in CONCURRENT:
            events = 300 if concurrent == 1 else 6 * concurrent if concurrent > 500 else 4000
            found = [
                (
                    await ours.rate(events, concurrent),
                    await raw.best(events, concurrent),
                    await raw.best(events, concurrent, encode=True),
                )
                for _ in range(ROUNDS)
            ]
            value, ready, encoding = zip(*found, strict=True)
            for how, limit in ("bytes made beforehand", ready), ("events encoded in time", encoding):
                readings.append(
                    at_least(
                        NEEDED,
                        figure="log",
                        what=f"{concurrent} concurrent appends, against {how}",
                        value=value,
                        limit=limit,
                        unit="appends/s",
                    )
                )
        events = min(30_000, await ours.log.last_position())
        reads = [
            (await ours.read(events), await ours.tail(events), await raw.read(events)) for _ in range(ROUNDS)
        ]
        read, tail, limit = zip(*reads, strict=True)
        for what, value in ("read in order", read), ("through the tail", tail):
            readings.append(
                at_least(NEEDED_READING, figure="log", what=what, value=value, limit=limit, unit="events/s")
            )
    return readings


async def fsyncs(broker: Broker) -> list[Reading]:
    """Syncs of the broker an append, against what it does for a lone one."""
    counts = {}
    async with both(broker) as (ours, _):
        for concurrent in (1, 64, 1000):
            before = ours.log.stats.appends
            counted = await syncs_while(broker.pid, ours.rate(max(100, 4 * concurrent), concurrent))
            counts[concurrent] = counted / (ours.log.stats.appends - before)
    return [
        at_most(
            bound,
            figure="log",
            what=f"{concurrent} concurrent appends, against a lone one",
            value=counts[concurrent],
            limit=counts[1],
            unit="fsyncs an append",
        )
        for concurrent, bound in ((64, 0.5), (1000, 0.1))
    ]


async def syncs_while(pid: int, work: Coroutine[Any, Any, object]) -> int:
    """How often a process calls fsync or fdatasync meanwhile."""
    strace = shutil.which("strace")
    if strace is None:
        sys.exit("counting fsyncs needs strace: apt-get install strace")
    tracing = await asyncio.create_subprocess_exec(
        strace, "-f", "-c", "-e", "trace=fsync,fdatasync", "-p", str(pid), stderr=subprocess.PIPE
    )
    assert tracing.stderr is not None
    assert b"attached" in await tracing.stderr.readline()
    await work
    tracing.send_signal(2)
    _, summary = await tracing.communicate()
    lines = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+).* f(?:data)?sync$", summary.decode(), re.MULTILINE)
    return sum(map(int, lines))


async def failover() -> Reading:
    """Seconds without an acknowledgement when one of three brokers, the leader, is killed, beside a plain client's."""
    with running_cluster() as cluster:
        await cluster.elected()
        place = await new_place(cluster.broker, replicas=3)
        client = await connect(cluster.broker)
        js = client.jetstream()
        plain, last = 0.0, time.monotonic()

        async def publish() -> None:
            nonlocal plain, last
            while True:
                try:
                    await js.publish(place.subject(uuid4().hex), b"{}", timeout=0.5)
                except (nats.errors.Error, OSError):
                    await asyncio.sleep(0.01)
                else:
                    now = time.monotonic()
                    plain, last = max(plain, now - last), now

        load = Writers(place)
        async with place.log(bound=60) as log:
            writing = [asyncio.create_task(load.run(log, n)) for n in range(64)]
            publishing = asyncio.create_task(publish())
            await load.go_on()
            info = await js.stream_info(place.stream)
            assert info.cluster is not None
            cluster.nodes[info.cluster.leader or ""].kill()
            await load.go_on()
            await asyncio.sleep(1)  # the plain one as well
            load.ended = True
            await asyncio.gather(*writing)
            publishing.cancel()
        await client.close()
    return at_most(
        2.0,
        figure="log",
        what="without an acknowledgement after the leader's death, against a plain client",
        value=load.longest,
        limit=plain,
        unit="s",
    )


async def _measure() -> list[Reading]:
    with running_nats() as broker:
        readings = [*await appends(broker), *await fsyncs(broker)]
    return [*readings, await failover()]


def measure() -> Iterator[Reading]:
    """Every figure of the log, ours and raw in a process that is set up as a service is."""
    yield from host.run(_measure())
