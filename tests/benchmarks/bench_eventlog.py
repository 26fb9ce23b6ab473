"""The event log against the raw broker, in one run on one machine: `make bench FIGURE=log`.

The raw broker gets the same messages over one connection: guarded publishes or atomic batches, whichever is the faster
(from 500 on batches only, since publishes reach a third of them). It is held against in three ways:

- by as many callers, each with bytes made beforehand, which hands in its next when its own answer is there: that is what
  the same concurrency means, and the limit of the broker for a process with so many coroutines waiting;
- by the same callers with their events encoded as they are sent: the limit of any client like this one;
- with bytes made beforehand and nobody but a counter to be answered: the limit of the broker alone. What N callers cost
  a process to wake is no part of it, so that the more there are the less of it anybody can reach.

Rounds are interleaved, the median counts. Each is long enough that its beginning, when all callers encode and the broker
has nothing to do, counts little.
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
from enum import Enum
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
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.message_frames import publish_frame
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime import host
from servers import Broker, running_nats

PAYLOAD = "x" * 290
ROUNDS = 5
EVENTS = {1: 600, 8: 2_000, 64: 6_400, 500: 20_000, 1000: 40_000}
"""By how many are concurrent: a second or two, on a slow disk too."""

GUARD = b"Nats-Expected-Last-Subject-Sequence: 0\r\n"
NEEDED, NEEDED_READING = 0.7, 0.6

Frame = Callable[[], bytes]
"""Gives the bytes to send, made now or beforehand."""


class How(Enum):
    """What the raw broker is asked by."""

    CALLERS = "callers, bytes made beforehand"
    ENCODING = "callers, events encoded in time"
    ALONE = "a counter alone, bytes made beforehand"


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

    def request(self, size: int, reply: str) -> list[Frame]:
        """The frames of one guarded publish, or of one atomic batch. The last is answered."""
        batch_id = uuid4().hex.encode()

        def make(n: int, subject: str, new: NewEvent) -> bytes:
            name, version, data = self.place.codec.encode(new.event)
            headers = GUARD + encode_headers(new, "gateway", name, version)
            if size > 1:
                headers += b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: %d\r\n" % (batch_id, n)
                headers += b"Nats-Batch-Commit: 1\r\n" if n == size else b""
            return publish_frame(subject, reply if n == size else "", headers, data)

        return [partial(make, n, self.place.subject(uuid4().hex), event()) for n in range(1, size + 1)]

    async def rate(self, events: int, size: int, in_flight: int, how: How = How.ALONE) -> float:
        """Events a second: `in_flight` requests of `size` events each, the next as soon as one is answered."""
        lanes = [Lane(self.client) for _ in range(in_flight)]
        for lane in lanes:
            for _ in range(max(1, events // size // in_flight)):
                frames = self.request(size, lane.reply)
                if how is How.ALONE:
                    frames = [partial(bytes, b"".join([make() for make in frames]))]
                elif how is How.CALLERS:
                    frames = [partial(bytes, make()) for make in frames]
                lane.requests.append(frames)
        await self.wire.open()
        started = time.perf_counter()
        await asyncio.gather(*(lane.run() for lane in lanes))
        return sum(len(lane.requests) for lane in lanes) * size / (time.perf_counter() - started)

    async def best(self, events: int, concurrent: int, how: How) -> float:
        """The faster of the two ways."""
        batches = await self.rate(events, concurrent, 1, how) if concurrent > 1 else 0.0
        singles = await self.rate(events, 1, concurrent, how) if concurrent < 500 else 0.0
        return max(singles, batches)

    async def read(self, events: int) -> float:
        """An ordered read by a pull consumer on a plain nats-py connection; what its parser finds is counted and dropped."""
        api, stream, pull = "$JS.API.CONSUMER", self.place.stream, 2000
        config = {
            "ack_policy": "none",
            "deliver_policy": "all",
            "mem_storage": True,
            "inactive_threshold": 10**10,
        }
        request = orjson.dumps({"stream_name": stream, "config": config})
        client = await connect(self.place.broker)
        answer = await client.request(f"{api}.CREATE.{stream}", request, timeout=10)
        ask = f"{api}.MSG.NEXT.{stream}.{orjson.loads(answer.data)['name']}"
        inbox = client.new_inbox()
        await client.subscribe(inbox)
        seen, more, done = 0, asyncio.Event(), asyncio.Event()

        async def receive(*_: Any) -> None:
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
                await client.publish(ask, b"%d" % pull, reply=inbox)

        client._process_msg = receive  # type: ignore[method-assign,assignment]
        started = time.perf_counter()
        await client.publish(ask, b"%d" % pull, reply=inbox)
        more.set()
        pulling = asyncio.create_task(pulls())
        await done.wait()
        took = time.perf_counter() - started
        pulling.cancel()
        await client.close()
        return events / took


class Lane:
    """Requests one after another. Each frame of them has a caller, who hands in the next when the last is answered."""

    def __init__(self, client: Client) -> None:
        self._client, self._wire = client, Wire.over(client)
        self.requests: list[list[Frame]] = []
        self.reply = self._wire.expect(self._answered)
        self._handed: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []

    async def run(self) -> None:
        await asyncio.gather(*(self._caller(n) for n in range(len(self.requests[0]))))
        self._wire.forget(self.reply)

    async def _caller(self, n: int) -> None:
        loop = asyncio.get_running_loop()
        for request in self.requests:
            self._handed.append(request[n]())
            done: asyncio.Future[None] = loop.create_future()
            self._waiting.append(done)
            if len(self._handed) == len(request):  # the last to come sends it
                assert self._client._transport is not None
                self._client._transport.write(b"".join(self._handed))
                self._handed.clear()
            await done

    def _answered(self, _: bytes, data: bytes) -> None:
        assert b"error" not in data, data
        for done in self._waiting:
            done.set_result(None)
        self._waiting.clear()


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
        await ours.rate(200, 1), await raw.rate(200, 1, 1, How.CALLERS)
        yield ours, raw
    await client.close()


async def appends(broker: Broker) -> list[Reading]:
    """Rates of appends, and of reading what has been appended."""
    readings = []
    async with both(broker) as (ours, raw):
        for concurrent, events in EVENTS.items():
            found = [
                (
                    await ours.rate(events, concurrent),
                    *[await raw.best(events, concurrent, how) for how in How],
                )
                for _ in range(ROUNDS)
            ]
            value, *limits = zip(*found, strict=True)
            for how, limit in zip(How, limits, strict=True):
                readings.append(
                    at_least(
                        NEEDED,
                        figure="log",
                        what=f"{concurrent} concurrent appends, against {how.value}",
                        value=value,
                        limit=limit,
                        unit="appends/s",
                    )
                )
        events = min(100_000, await ours.log.last_position())
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
