"""Load: no-op tasks through the HTTP API, so many in flight, each until its result can be read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import nats
import orjson

from product import Product
from remote_claude.contracts import REGISTRY
from remote_claude.eventsourcing.jetstream import JetStreamEventLog

BODY = orjson.dumps({"prompt": "nothing", "agent": "noop"})


class Http:
    """One kept connection to the API. An HTTP library would take more of the machine than what is measured."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.busy = 0  # answers that said so

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        self._writer.close()

    async def ask(self, method: str, path: str, key: str, body: bytes = b"") -> Any:
        """The JSON of the answer; a busy server is asked again in a moment, as it says."""
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {key}\r\n"
            f"Idempotency-Key: {uuid4()}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        while True:
            self._writer.write(request)
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = orjson.loads(await self._reader.readexactly(length))
            status = int(head[9:12])
            if status < 300:
                return answer
            assert status == 503, answer
            self.busy += 1
            await asyncio.sleep(0.1)


class Load:
    """Submits with the keys in turn. A task ends when the log says so, and then its state is read."""

    def __init__(self, url: str, keys: Sequence[str], log: JetStreamEventLog) -> None:
        self._keys, self._log = keys, log
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self.busy = 0  # requests that had to be made again
        self._ends: dict[str, asyncio.Future[int]] = {}

    async def run(self, tasks: int, in_flight: int) -> float:
        """Seconds that `tasks` take, `in_flight` at a time."""
        clients = [Http(*self._address) for _ in range(in_flight)]
        await asyncio.gather(*(client.open() for client in clients))
        watching = asyncio.create_task(self._watch(await self._log.last_position()))
        numbers = iter(range(tasks))
        began = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(self._work(client, numbers))
            return time.perf_counter() - began
        finally:
            watching.cancel()
            self.busy += sum(client.busy for client in clients)
            for client in clients:
                client.close()

    async def _work(self, client: Http, numbers: Any) -> None:
        for number in numbers:
            key = self._keys[number % len(self._keys)]
            answer = await client.ask("POST", "/v1/tasks", key, BODY)
            position = await self._end(answer["id"])
            task = await client.ask("GET", f"/v1/tasks/{answer['id']}?min_position={position}", key)
            assert task["state"] == "succeeded", task
            del self._ends[task["id"]]

    def _end(self, task: str) -> asyncio.Future[int]:
        return self._ends.setdefault(task, asyncio.get_running_loop().create_future())

    async def _watch(self, after: int) -> None:
        async with aclosing(self._log.follow(after=after)) as batches:
            async for batch in batches:
                for event in batch:
                    if event.type == "TaskSucceeded" and event.subject is not None:
                        self._end(event.subject).set_result(event.position)


@asynccontextmanager
async def log_of(stack: Product, user: str = "admin") -> AsyncIterator[JetStreamEventLog]:
    """The log of a running stack, with the credential of one of its users."""
    file = stack.stack_file()
    client = await nats.connect(file["nats_url"], nkeys_seed=file["nats_users"][user])
    async with JetStreamEventLog(client, REGISTRY) as log:
        yield log
    await client.close()


@asynccontextmanager
async def load_on(stack: Product, keys: Sequence[str] = ()) -> AsyncIterator[Load]:
    """Load for a running stack; without keys, its owner's."""
    async with log_of(stack) as log:
        yield Load(stack.stack_file()["url"], keys or [owner_key(stack)], log)


def owner_key(stack: Product) -> str:
    return Path(stack.stack_file()["api_key"]).read_text().strip()
