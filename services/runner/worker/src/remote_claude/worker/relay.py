"""A meeting point with a public address for workers, and a stack that has none. It has no broker, no database, no state.

The stack dials `/v1/relay` and stays; workers dial `/v1/workers/{runner}`. For each worker the relay tells the stack a number,
the stack dials `/v1/relay/{number}`, and messages are passed on as they are: the worker proves itself to its runner as anywhere.
Who has the relay can read what passes: put TLS in front of it, and run it yourself. `RCLAUDE_RELAY_TOKEN` is shared with the
stack. `python -m remote_claude.worker.relay` runs it, in the worker's image too.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
import sys
from contextlib import suppress
from itertools import count

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from remote_claude.worker.protocol.messages import MAX_MESSAGE

STACK, WORKERS = "/v1/relay", "/v1/workers/"
PORT = 8443
MEET_S = 15.0
MAX_WORKERS = 1024
AGAIN = 1013
"""Closing code after which a worker dials again."""
MIN_TOKEN = 32


async def splice(one: Connection, other: Connection) -> None:
    """Messages both ways until one side closes; the closing code goes to the other."""

    async def copy(source: Connection, target: Connection) -> None:
        with suppress(ConnectionClosed):
            async for message in source:
                await target.send(message)
        code = source.close_code or 1001
        await target.close(code if code not in (1005, 1006) else 1001, source.close_reason or "")

    await asyncio.gather(copy(one, other), copy(other, one))


class Relay:
    """One stack at a time: a second that dials takes the place of the first."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._stack: ServerConnection | None = None
        self._waiting: dict[str, asyncio.Future[ServerConnection]] = {}
        self._numbers, self._open = count(1), 0

    async def listen(self, host: str, port: int) -> Server:
        """Serves until it is closed."""
        return await serve(
            self._handle,
            host,
            port,
            process_request=self._admit,
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=4,
            server_header=None,
        )

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path
        if path == "/healthz":
            return connection.respond(200, "ok\n")
        if path.startswith(WORKERS):
            return None if self._open < MAX_WORKERS else connection.respond(503, "too many workers\n")
        if path != STACK and not path.startswith(f"{STACK}/"):
            return connection.respond(404, "not found\n")
        shown = request.headers.get("authorization", "")
        right = hmac.compare_digest(shown.encode(), f"Bearer {self._token}".encode())
        return None if right else connection.respond(401, "the token is wrong\n")

    async def _handle(self, peer: ServerConnection) -> None:
        assert peer.request is not None
        path = peer.request.path
        if path == STACK:
            await self._stay(peer)
        elif path.startswith(WORKERS):
            await self._meet(peer, path)
        elif (waiting := self._waiting.pop(path.rpartition("/")[2], None)) is not None and not waiting.done():
            waiting.set_result(peer)
            await peer.wait_closed()

    async def _stay(self, peer: ServerConnection) -> None:
        before, self._stack = self._stack, peer
        if before is not None:
            await before.close(4409, "another stack has connected")
        await peer.wait_closed()
        if self._stack is peer:
            self._stack = None

    async def _meet(self, worker: ServerConnection, path: str) -> None:
        if self._stack is None:
            await worker.close(AGAIN, "the stack is not connected")
            return
        number = str(next(self._numbers))
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._open += 1
        try:
            await self._stack.send(json.dumps({"number": number, "path": path}))
            async with asyncio.timeout(MEET_S):
                stack = await self._waiting[number]
            await splice(worker, stack)
        except (ConnectionClosed, TimeoutError):
            await worker.close(AGAIN, "the stack does not answer")
        finally:
            self._open -= 1
            self._waiting.pop(number, None)


async def _run(host: str, port: int, token: str) -> None:
    server = await Relay(token).listen(host, port)
    print(f"relay at {host}:{port}", flush=True)
    await server.serve_forever()


def main() -> int:
    """The process; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=PORT)
    given = parser.parse_args()
    token = os.environ.pop("RCLAUDE_RELAY_TOKEN", "")
    if len(token) < MIN_TOKEN:
        print(
            f"set RCLAUDE_RELAY_TOKEN to at least {MIN_TOKEN} random characters: `openssl rand -hex 32`",
            file=sys.stderr,
        )
        return 2
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(given.host, given.port, token))
    return 0


if __name__ == "__main__":
    sys.exit(main())
