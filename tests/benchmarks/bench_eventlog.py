"""The event log against the raw broker, in one run on one machine: `python tests/benchmarks/bench_eventlog.py`.

Prints rates and their ratio to what nats-py does with the same messages on the same broker. More is better.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import orjson
import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

sys.path.insert(0, str(Path(__file__).parent.parent))

from event_logs import Place, connect, happened, new_place
from remote_claude.eventsourcing.cloudevents import encode_headers
from remote_claude.eventsourcing.events import NewEvent
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.wire import parse_headers
from servers import Broker, running_nats

PAYLOAD = "x" * 290
ROUNDS = 3
GUARD = "Nats-Expected-Last-Subject-Sequence"

Measured = tuple[float, float]
"""Events a second, and microseconds of this process's CPU an event."""


def event() -> NewEvent:
    return happened(
        PAYLOAD,
        subject="task_01jdzzzzzzzzzzzzzzzzzzzzzz",
        correlation_id=str(uuid4()),
        causation_id=str(uuid4()),
        cause=1,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def message(place: Place) -> tuple[dict[str, str], bytes]:
    new = event()
    name, version, data = place.codec.encode(new.event)
    headers = b"NATS/1.0\r\n" + encode_headers(new, "gateway", name, version) + b"\r\n"
    return parse_headers(headers) | {GUARD: "0"}, data


async def measure(work: Callable[[], Awaitable[int]]) -> Measured:
    """The best of some rounds."""
    best = (0.0, 0.0)
    for _ in range(ROUNDS):
        started, cpu = time.perf_counter(), time.process_time()
        events = await work()
        rate = events / (time.perf_counter() - started)
        best = max(best, (rate, (time.process_time() - cpu) / events * 1e6))
    return best


class Raw:
    """What nats-py does by itself."""

    def __init__(self, client: Client, place: Place) -> None:
        self.client, self.place = client, place

    def subject(self) -> str:
        return self.place.subject(uuid4().hex)

    async def lone(self, n: int) -> int:
        for _ in range(n):
            headers, data = message(self.place)
            answer = await self.client.request(self.subject(), data, timeout=10, headers=headers)
            assert b"error" not in answer.data
        return n

    async def batches(self, n: int, size: int) -> int:
        for _ in range(n):
            batch = uuid4().hex
            for i in range(1, size + 1):
                headers, data = message(self.place)
                headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(i)}
                if i < size:
                    await self.client.publish(self.subject(), data, headers=headers)
                else:
                    headers["Nats-Batch-Commit"] = "1"
                    answer = await self.client.request(self.subject(), data, timeout=10, headers=headers)
                    assert b"error" not in answer.data
        return n * size

    async def read(self, n: int) -> int:
        """A pull loop on a callback subscription."""
        api, stream, pull = "$JS.API.CONSUMER", self.place.stream, 2000
        config = {
            "ack_policy": "none",
            "deliver_policy": "all",
            "mem_storage": True,
            "inactive_threshold": 10**10,
        }
        request = orjson.dumps({"stream_name": stream, "config": config})
        answer = await self.client.request(f"{api}.CREATE.{stream}", request, timeout=10)
        name = orjson.loads(answer.data)["name"]
        inbox, seen, done = self.client.new_inbox(), 0, asyncio.Event()

        async def ask() -> None:
            await self.client.publish(f"{api}.MSG.NEXT.{stream}.{name}", b"%d" % pull, reply=inbox)

        async def receive(message: Msg) -> None:
            nonlocal seen
            seen += 1
            if seen % pull == 0:
                await ask()
            if seen == n:
                done.set()

        subscription = await self.client.subscribe(inbox, cb=receive)
        await ask()
        await ask()
        await done.wait()
        await subscription.unsubscribe()
        return n


class Ours:
    """The same through the event log."""

    def __init__(self, log: JetStreamEventLog, place: Place) -> None:
        self.log, self.place = log, place

    async def append(self) -> None:
        await self.log.append(self.place.subject(uuid4().hex), [event()], expected_position=0)

    async def lone(self, n: int) -> int:
        for _ in range(n):
            await self.append()
        return n

    async def concurrent(self, n: int, size: int) -> int:
        """`size` writers, each of which waits for its own answers."""
        await asyncio.gather(*(self.lone(n) for _ in range(size)))
        return n * size

    async def read(self, n: int) -> int:
        seen = 0
        async for batch in self.log.read(until=n):
            seen += len(batch)
        return seen

    async def tail(self, n: int) -> int:
        async with Tail(self.log, after=0) as tail:
            assert await tail.wait_for(n, 60)
        return n


def show(name: str, ours: Measured, raw: Measured) -> None:
    print(
        f"{name:28} {ours[0]:9,.0f}/s {ours[1]:6.1f} us CPU   raw {raw[0]:9,.0f}/s {raw[1]:6.1f} us CPU"
        f"   ratio {ours[0] / raw[0]:.2f}"
    )


async def main(broker: Broker) -> None:
    place = await new_place(broker)
    client = await connect(broker)
    raw = Raw(client, place)
    async with place.log() as log:
        ours = Ours(log, place)
        await raw.lone(100), await ours.lone(100)
        show("lone append", await measure(lambda: ours.lone(300)), await measure(lambda: raw.lone(300)))
        for size in (64, 500):
            n = 6_000 // size
            show(
                f"{size} concurrent appends",
                await measure(lambda n=n, size=size: ours.concurrent(n, size)),
                await measure(lambda n=n, size=size: raw.batches(n, size)),
            )
        n = 30_000
        print(f"broker: {n:,} of {await log.last_position():,} events are read")
        expected = await measure(lambda: raw.read(n))
        show("read", await measure(lambda: ours.read(n)), expected)
        show("tail", await measure(lambda: ours.tail(n)), expected)
    await client.close()


if __name__ == "__main__":
    with running_nats() as broker:
        uvloop.run(main(broker))
