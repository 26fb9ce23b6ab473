"""One task's output to 1,000 watchers, each on a socket of its own, against a raw WebSocket broadcast of the same frames.

A `shell` task writes a burst of lines; the row counts lines times watchers a second, from the first frame to the last, in
three interleaved rounds. The raw broadcast sends what one watcher received, frame by frame, to as many sockets, with nothing
of ours in front. Then a task writes 20 lines a second that say when: the delay is from there to a watcher's hand, once more
with another watcher that takes nothing. Every watcher checks that no frame is missing or comes twice. All watchers are in
one process, which shares the processors with the stack.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson
import uvloop
from noop_tasks import owner_key
from readings import Reading, at_least, at_most
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.asyncio.server import ServerConnection, broadcast, serve

from product import Product, product

ROUNDS, WATCHERS = 3, 1_000
LINES, WIDTH = 2_000, 80
RATE, SECONDS = 20, 5
GOAL_MS = 50.0
BURST = f"sleep 5; for n in $(seq {LINES}); do printf '%0{WIDTH}d\\n' $n; done"
STAMPED = f"sleep 5; for n in $(seq {RATE * SECONDS}); do echo at=$EPOCHREALTIME; sleep {1 / RATE}; done"
LINE = b'"kind":"output"'
STAMP = re.compile(rb"at=(\d+\.\d+)")


def measure() -> Iterator[Reading]:
    """Lines a second; milliseconds from a line to a socket, and those beside a stalled watcher."""
    with product({"RCLAUDE_MAX_SOCKETS": str(2 * WATCHERS)}) as stack:
        rates, raw, alone, beside = uvloop.run(_measure(stack))
    yield at_least(
        0.5, figure=4, what=f"output of one task to {WATCHERS:,} watchers, against a raw broadcast",
        value=rates, limit=raw, unit="lines/s",
    )  # fmt: skip
    yield at_most(
        figure=4,
        what=f"line to socket, p99, {WATCHERS:,} watchers",
        value=_p99(alone),
        limit=GOAL_MS,
        unit="ms",
    )
    yield at_most(
        1.25, figure=4, what="the same beside a watcher that takes nothing",
        value=_p99(beside), limit=_p99(alone), unit="ms",
    )  # fmt: skip


def _p99(delays: list[float]) -> float:
    return sorted(delays)[int(0.99 * len(delays))] * 1000


async def _measure(stack: Product) -> tuple[list[float], list[float], list[float], list[float]]:
    rates, raw = [], []
    for _ in range(ROUNDS):
        watched = await _watched(stack, BURST)
        rates.append(
            LINES * WATCHERS / (max(each.last for each in watched) - min(each.first for each in watched))
        )
        raw.append(await _raw([frame for frame in watched[0].frames if LINE in frame]))
    alone = [delay for each in await _watched(stack, STAMPED) for delay in each.delays]
    beside = [delay for each in await _watched(stack, STAMPED, stalled=True) for delay in each.delays]
    return rates, raw, alone, beside


@dataclass(slots=True)
class Watched:
    """What one watcher has received: when its first and last output came (`perf_counter`), and each stamped line's delay."""

    first: float = 0.0
    last: float = 0.0
    delays: list[float] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)


async def _watched(stack: Product, command: str, *, stalled: bool = False) -> list[Watched]:
    """Every watcher's account of a task that runs `command`."""
    async with AsyncExitStack() as sockets:
        opened = [await sockets.enter_async_context(_socket(stack)) for _ in range(WATCHERS + stalled)]
        task = await asyncio.to_thread(stack.submit, command)
        subscribe = orjson.dumps({"type": "subscribe", "task": task}).decode()
        await asyncio.gather(*(socket.send(subscribe) for socket in opened))
        return await asyncio.gather(*(_watch(socket) for socket in opened[:WATCHERS]))


@asynccontextmanager
async def _socket(stack: Product) -> AsyncIterator[ClientConnection]:
    address = urlsplit(stack.stack_file()["url"])
    async with open_socket(
        f"ws://{address.netloc}/v1/stream",
        additional_headers={"Authorization": f"Bearer {owner_key(stack)}"},
        compression=None,
        max_size=None,
    ) as socket:
        yield socket


async def _watch(socket: ClientConnection) -> Watched:
    found, following = Watched(), 1
    while True:
        frame = await socket.recv(decode=False)
        now = time.time()
        found.frames.append(frame)
        if frame.startswith(b'{"type":"output"'):
            if LINE in frame:
                found.first = found.first or time.perf_counter()
                found.last = time.perf_counter()
            found.delays += [now - float(at) for at in STAMP.findall(frame)]
            output = orjson.loads(frame)
            assert output["first"] == following, (output["first"], following)
            following += len(output["frames"])
        elif frame.startswith(b'{"type":"end"'):
            return found
        else:
            assert not frame.startswith(b'{"type":"error"'), frame


async def _raw(frames: list[bytes]) -> float:
    """Lines times watchers a second when nothing but `websockets` sends these frames to as many sockets."""
    joined: set[ServerConnection] = set()

    async def join(connection: ServerConnection) -> None:
        joined.add(connection)
        await connection.wait_closed()

    async with (
        serve(join, "127.0.0.1", 0, compression=None, max_size=None) as server,
        AsyncExitStack() as stack,
    ):
        port = server.sockets[0].getsockname()[1]
        watchers = [
            await stack.enter_async_context(
                open_socket(f"ws://127.0.0.1:{port}", compression=None, max_size=None)
            )
            for _ in range(WATCHERS)
        ]

        async def receive(watcher: ClientConnection) -> None:
            for _ in frames:
                orjson.loads(await watcher.recv(decode=False))

        began = time.perf_counter()
        receiving = [asyncio.create_task(receive(watcher)) for watcher in watchers]
        for frame in frames:
            broadcast(joined, frame.decode())
            await asyncio.sleep(0)
        await asyncio.gather(*receiving)
        return LINES * WATCHERS / (time.perf_counter() - began)
