"""Streams out of the sandbox: a port of its loopback, each connection to it carried to the runner and back.

Each connection is a WebSocket of its own over the worker's way to its runner, so that flow control is the
transport's. A binary message is the next bytes; an empty one is the end of that direction.
"""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from remote_claude.worker.dialing import dial
from remote_claude.worker.protocol.codec import Malformed
from remote_claude.worker.protocol.messages import Hello, StreamOpened, decode, encode

CHUNK = 64 * 1024


@asynccontextmanager
async def forwarded(
    runner_url: str, session_key: Callable[[], str | None], destination: str, port: int = 0
) -> AsyncIterator[int]:
    """A port on 127.0.0.1 (`port`, or a free one) that leads to `destination` on the runner."""

    async def carry(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            async with dial(runner_url) as ws:
                await ws.send(encode(Hello(session_key=session_key(), stream=destination)))
                decode(await ws.recv(), StreamOpened)
                await pump(reader, writer, ws)
        except (OSError, InvalidHandshake, TimeoutError, ConnectionClosed, Malformed):
            pass  # the runner is away, or refuses: the client sees its connection close
        finally:
            writer.close()

    async with await asyncio.start_server(carry, "127.0.0.1", port) as server:
        yield server.sockets[0].getsockname()[1]


async def pump(reader: StreamReader, writer: StreamWriter, ws: ClientConnection) -> None:
    """Both directions, until both have ended or one side is gone."""
    inward = asyncio.create_task(_from_runner(ws, writer))
    outward = asyncio.create_task(_to_runner(reader, ws.send))
    try:
        await inward
    finally:
        for task in (inward, outward):
            task.cancel()
        await asyncio.wait((inward, outward))


async def _to_runner(reader: StreamReader, send: Callable[[bytes], Awaitable[None]]) -> None:
    with suppress(ConnectionError, ConnectionClosed):
        while data := await reader.read(CHUNK):
            await send(data)
        await send(b"")


async def _from_runner(ws: ClientConnection, writer: StreamWriter) -> None:
    with suppress(ConnectionError, ConnectionClosed):
        async for data in ws:
            if not data:
                writer.write_eof()
                return
            writer.write(data if isinstance(data, bytes) else data.encode())
            await writer.drain()
