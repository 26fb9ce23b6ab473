"""What this machine can do: the disk, loopback, PostgreSQL, the broker and WebSockets, with nothing of ours in front.

Each is read for about half a second, five rounds of all of them. Server, client and load share the machine.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from bench_eventlog import Raw
from psycopg import AsyncConnection
from readings import Limit
from websockets.asyncio.client import connect as watch
from websockets.asyncio.server import ServerConnection, broadcast, serve

from event_logs import connect, new_place
from servers import running_nats, running_postgres

ROUNDS, SECONDS = 5, 0.5
EVENTS, READ = 5_000, 50_000
ROWS, LINE = 50_000, "x" * 100
WATCHERS, LINES = 100, 200


def measure() -> Iterator[Limit]:
    """The limits, in the order of what is built on what."""
    yield from uvloop.run(_measure())


async def _measure() -> list[Limit]:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        dsn = stack.enter_context(stack.enter_context(running_postgres(durable=True)).fresh())
        broker = stack.enter_context(running_nats())
        client = await connect(broker)
        stack.push_async_callback(client.close)
        raw, filled = Raw(client, await new_place(broker)), Raw(client, await new_place(broker))
        await filled.rate(READ, 500, 1)
        one, many = [await stack.enter_async_context(_committers(dsn, n)) for n in (1, 64)]
        ping = await stack.enter_async_context(_loopback())
        say = await stack.enter_async_context(_watchers())
        readings: dict[str, tuple[str, Callable[[], Awaitable[float]]]] = {
            "fdatasync of 4 KiB": ("/s", lambda: _syncs(Path(folder))),
            "round trip over loopback (TCP)": ("/s", lambda: _rate(ping)),
            "PostgreSQL commits, 1 client": ("/s", lambda: _rate(*one)),
            "PostgreSQL commits, 64 clients": ("/s", lambda: _rate(*many)),
            "JetStream atomic batches of 100": ("events/s", lambda: raw.rate(EVENTS, 100, 1)),
            "JetStream atomic batches of 500": ("events/s", lambda: raw.rate(EVENTS, 500, 1)),
            "raw ordered read, frames dropped": ("events/s", lambda: filled.read(READ)),
            f"raw WebSocket broadcast, {WATCHERS} watchers": ("lines/s", say),
            "COPY into PostgreSQL": ("rows/s", lambda: _copy(dsn)),
        }
        found: dict[str, list[float]] = {what: [] for what in readings}
        for _ in range(ROUNDS):
            for what, (_, read) in readings.items():
                found[what].append(await read())
    return [Limit(what=what, runs=runs, unit=readings[what][0]) for what, runs in found.items()]


async def _rate(*work: Callable[[], Awaitable[object]]) -> float:
    """How often a second all of them together are done, each one again as soon as it is."""
    began, count = time.perf_counter(), 0

    async def repeat(one: Callable[[], Awaitable[object]]) -> None:
        nonlocal count
        while time.perf_counter() < began + SECONDS:
            await one()
            count += 1

    await asyncio.gather(*map(repeat, work))
    return count / (time.perf_counter() - began)


async def _syncs(folder: Path) -> float:
    with (folder / "file").open("wb", buffering=0) as file:

        async def write() -> None:
            file.write(bytes(4096))
            os.fdatasync(file.fileno())

        return await _rate(write)


@asynccontextmanager
async def _loopback() -> Any:
    """One byte there and back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())

    async def ping() -> None:
        writer.write(b"x")
        await reader.readexactly(1)

    yield ping
    writer.close()
    server.close()


@asynccontextmanager
async def _committers(dsn: str, clients: int) -> Any:
    """So many clients, each with a durable commit of one small row."""
    connections = [await AsyncConnection.connect(dsn, autocommit=True) for _ in range(clients)]
    await connections[0].execute("CREATE TABLE IF NOT EXISTS committed (row text)")

    def committing(connection: AsyncConnection[Any]) -> Callable[[], Awaitable[object]]:
        return lambda: connection.execute("INSERT INTO committed VALUES ('x')")

    yield [committing(connection) for connection in connections]
    for connection in connections:
        await connection.close()


@asynccontextmanager
async def _watchers() -> Any:
    """A line a frame to every watcher, until all have had all; in lines sent times watchers a second."""
    joined: set[ServerConnection] = set()

    async def join(connection: ServerConnection) -> None:
        joined.add(connection)
        await connection.wait_closed()

    async with serve(join, "127.0.0.1", 0, compression=None) as server, AsyncExitStack() as stack:
        port = server.sockets[0].getsockname()[1]
        watchers = [
            await stack.enter_async_context(watch(f"ws://127.0.0.1:{port}", compression=None))
            for _ in range(WATCHERS)
        ]

        async def hear(watcher: Any) -> None:
            for _ in range(LINES):
                await watcher.recv()

        async def say() -> float:
            began = time.perf_counter()
            hearing = [asyncio.create_task(hear(watcher)) for watcher in watchers]
            for _ in range(LINES):
                broadcast(joined, LINE)
                await asyncio.sleep(0)
            await asyncio.gather(*hearing)
            return LINES * WATCHERS / (time.perf_counter() - began)

        yield say


async def _copy(dsn: str) -> float:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS copied (position bigint, line text)")
        await connection.execute("TRUNCATE copied")
        began = time.perf_counter()
        async with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
            for position in range(ROWS):
                await copy.write_row((position, LINE))
        return ROWS / (time.perf_counter() - began)
