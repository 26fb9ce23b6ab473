"""One way to drive each system: submit a task that does nothing, and wait until its result can be read.

Ours is `POST /v1/tasks?wait=30`: authenticated, checked against quota, metered, billed. PGQueuer's is an insert by its library
and its completion watcher; its worker is a process of its own, and the PostgreSQL below it is durable. Restate's is a call of
its ingress under an idempotency key; its service is a process of its own behind Hypercorn. Each has the settings that it
comes with, except that PGQueuer's worker takes 100 jobs at a time and its watcher looks after 5 ms: both are faster so.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from urllib.parse import urlsplit

import asyncpg
import httpx2
import orjson
import psutil
from noop_tasks import BODY, Http, owner_key
from pgqueuer.core.completion import CompletionWatcher
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.queries import Queries

from product import Product, product
from servers import running_postgres, until

HERE = Path(__file__).parent
ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}
DEBOUNCE = timedelta(milliseconds=5)
SLOTS = "2000"
CONNECTIONS = 16
"""PGQueuer's submitter's."""

Caller = Callable[[], Any]
"""Submits one task and waits for its result; returns its key for `started`."""


class System(Protocol):
    """A system under load."""

    name: str

    @property
    def pids(self) -> dict[str, list[int]]:
        """Its processes by what they are; their children count with them."""
        ...

    def callers(self, number: int) -> Any:
        """An asynchronous context manager: so many independent callers."""
        ...

    async def started(self, keys: Iterable[Any]) -> list[float]:
        """When these tasks began, in Unix seconds."""
        ...


@dataclass
class Ours:
    """An embedded stack."""

    stack: Product
    name: str = "ours"

    @property
    def pids(self) -> dict[str, list[int]]:
        pids = self.stack.stack_file()["pids"]
        return {"services": [pids["services"]], "broker": [pids["nats"]], "PostgreSQL": [pids["postgres"]]}

    @asynccontextmanager
    async def callers(self, number: int) -> AsyncIterator[list[Caller]]:
        key, parts = owner_key(self.stack), urlsplit(self.stack.stack_file()["url"])
        clients = [Http(parts.hostname or "", parts.port or 80) for _ in range(number)]
        await asyncio.gather(*(client.open() for client in clients))

        async def call(client: Http) -> Any:
            answer = await client.ask("POST", "/v1/tasks?wait=30", key, BODY)
            assert answer["state"] == "succeeded", answer
            return answer["task"]["attempts"][0]["started_at"]

        yield [partial(call, client) for client in clients]
        for client in clients:
            client.close()

    async def started(self, keys: Iterable[Any]) -> list[float]:
        return [datetime.fromisoformat(key).timestamp() for key in keys]


@dataclass
class PgQueuerSystem:
    """PGQueuer with a worker of its own."""

    dsn: str
    worker: subprocess.Popen[str]
    postgres: int
    name: str = "PGQueuer"
    began: dict[int, float] = field(default_factory=dict)

    @property
    def pids(self) -> dict[str, list[int]]:
        return {"worker": [self.worker.pid], "PostgreSQL": [self.postgres]}

    @asynccontextmanager
    async def callers(self, number: int) -> AsyncIterator[list[Caller]]:
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(
                asyncpg.create_pool(self.dsn, min_size=CONNECTIONS, max_size=CONNECTIONS)
            )
            listening = await asyncpg.connect(self.dsn)
            stack.push_async_callback(listening.close)
            queries = Queries(AsyncpgPoolDriver(pool))
            watcher = await stack.enter_async_context(
                CompletionWatcher(AsyncpgDriver(listening), queries=queries, debounce=DEBOUNCE)
            )

            async def call() -> Any:
                [job] = await queries.enqueue("noop", b"nothing")
                state = await watcher.wait_for(job)
                assert state == "successful", state
                return job

            yield [call] * number

    async def started(self, keys: Iterable[Any]) -> list[float]:
        if not self.began:
            self.worker.send_signal(signal.SIGTERM)
            out, _ = await asyncio.to_thread(self.worker.communicate, timeout=60)
            self.began = {int(job): at for job, at in json.loads(out.splitlines()[-1]).items()}
        return [self.began[key] for key in keys]


@dataclass
class RestateSystem:
    """A Restate server and one service."""

    server: subprocess.Popen[bytes]
    service: subprocess.Popen[bytes]
    port: int
    name: str = "Restate"

    @property
    def pids(self) -> dict[str, list[int]]:
        return {"server": [self.server.pid], "service": [self.service.pid]}

    @asynccontextmanager
    async def callers(self, number: int) -> AsyncIterator[list[Caller]]:
        clients = [Http("127.0.0.1", self.port) for _ in range(number)]
        await asyncio.gather(*(client.open() for client in clients))
        body = orjson.dumps("nothing")
        yield [partial(client.ask, "POST", "/noop/run", "none", body) for client in clients]
        for client in clients:
            client.close()

    async def started(self, keys: Iterable[Any]) -> list[float]:
        return list(keys)


@asynccontextmanager
async def systems() -> AsyncIterator[list[System]]:
    """All of them, running side by side; who is not called does nothing."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="rclaude-peers-")))
        ours = Ours(stack.enter_context(product({"RCLAUDE_RUNNER_SLOTS": SLOTS})))
        database = stack.enter_context(running_postgres(durable=True))
        pgqueuer = await _pgqueuer(stack, stack.enter_context(database.fresh()), database.pid)
        yield [ours, pgqueuer, await asyncio.to_thread(_restate, stack, folder)]
        await asyncio.to_thread(ours.stack.verified)


async def _pgqueuer(stack: ExitStack, dsn: str, postgres: int) -> PgQueuerSystem:
    connection = await asyncpg.connect(dsn)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()
    return PgQueuerSystem(dsn, await asyncio.to_thread(_worker, stack, dsn), postgres)


def _worker(stack: ExitStack, dsn: str) -> subprocess.Popen[str]:
    """One that is ready."""
    command = [sys.executable, str(HERE / "pgqueuer_worker.py"), dsn]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stack.callback(_end, worker)
    assert worker.stdout is not None
    worker.stdout.readline()
    return worker


def _restate(stack: ExitStack, folder: Path) -> RestateSystem:
    binary = (
        HERE
        / "node_modules/@restatedev"
        / f"restate-server-linux-{ARCHITECTURES[platform.machine()]}"
        / "bin/restate-server"
    )
    if not binary.exists():
        sys.exit("Restate is not installed: run `make peers`")
    ingress, admin, node, port = _free_ports(4)
    environment = os.environ | {
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
    }
    log = stack.enter_context((folder / "log").open("wb"))
    server = subprocess.Popen(
        [binary, "--no-logo", "--base-dir", folder / "data"], env=environment, stdout=log, stderr=log
    )
    stack.callback(_end, server)
    service = subprocess.Popen(
        [
            sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{port}",
            "--worker-class", "uvloop", "restate_service:app",
        ],
        cwd=HERE, stdout=log, stderr=log,
    )  # fmt: skip
    stack.callback(_end, service)

    def registered() -> bool:
        try:
            answer = httpx2.post(
                f"http://127.0.0.1:{admin}/deployments", json={"uri": f"http://127.0.0.1:{port}"}
            )
        except httpx2.TransportError:
            return False
        return answer.is_success

    until(registered, "Restate has its service", 60, pause=0.2)
    return RestateSystem(server, service, ingress)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [server.getsockname()[1] for server in servers]


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of load took: tasks a second, and CPU milliseconds a task by kind of process."""

    rate: float
    cpu: dict[str, float]

    @property
    def whole(self) -> float:
        return sum(self.cpu.values())


async def round_of(system: System, tasks: int, in_flight: int) -> Round:
    """So many tasks, so many at a time, each until its result can be read."""
    numbers = iter(range(tasks))

    async def work(call: Caller) -> None:
        for _ in numbers:
            await call()

    async with system.callers(in_flight) as callers:
        before = cpu(system)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for call in callers:
                group.create_task(work(call))
        seconds = time.perf_counter() - began
        after = cpu(system)
    return Round(tasks / seconds, {what: (after[what] - before[what]) / tasks * 1000 for what in before})


def cpu(system: System) -> dict[str, float]:
    """CPU seconds of its processes and their children so far, those of ended children too."""
    return {what: sum(map(_cpu_of, pids)) for what, pids in system.pids.items()}


def _cpu_of(pid: int) -> float:
    process = psutil.Process(pid)
    own = process.cpu_times()
    return (
        own.user
        + own.system
        + own.children_user
        + own.children_system
        + sum(
            times.user + times.system
            for times in (child.cpu_times() for child in process.children(recursive=True))
        )
    )
