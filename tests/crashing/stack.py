"""Real servers that stay up, and on them one installation after another whose services are killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nats

from crashing.points import Point, read
from crashing.process import SAID_WHERE
from product import environment_of
from remote_claude.access.kek import create_kek
from remote_claude.eventsourcing.jetstream.streams import ensure_streams
from remote_claude.runtime import owner
from remote_claude.runtime.broker.accounts import ADMIN, TOGETHER
from remote_claude.runtime.embedded.home import free_port
from servers import Broker, Database, delete_streams, nats_with_accounts, running_postgres

TESTS = Path(__file__).parents[1]
QUICK = {
    "RCLAUDE_SCHEDULER_LEASE_S": "5",
    "RCLAUDE_SCHEDULER_GRACE_S": "1",
    "RCLAUDE_SCHEDULER_TICK_S": "0.2",
    "RCLAUDE_SCHEDULER_SNAPSHOT_INTERVAL_S": "1",
    "RCLAUDE_SCHEDULER_DECLINE_PAUSE_S": "0.1",
    "RCLAUDE_RUNNER_LEASE_S": "5",
    "RCLAUDE_RUNNER_SAMPLE_S": "0.2",
    "RCLAUDE_RUNNER_SLOTS": "4",
    "RCLAUDE_OUTBOUND_ALLOW": "127.0.0.0/8",
}


class Zygote:
    """`crashing.process`: forks the services in a few milliseconds."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crashing.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )

    def fork(self, **order: Any) -> int:
        """The number of a process that has begun."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End, and all that was forked with it."""
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True)
class Ground:
    """What one installation after the other stands on. `broker(user)` is the broker as a user has it.

    The port is theirs in turn: while the services of one are dead its port is free, and another's could take it.
    """

    broker: Any
    database: Database
    zygote: Zygote
    port: int


@contextmanager
def ground() -> Iterator[Ground]:
    """Broker, PostgreSQL and zygote, for as long as this lasts."""
    with nats_with_accounts() as broker, running_postgres() as database:
        zygote = Zygote()
        try:
            yield Ground(broker, database, zygote, free_port())
        finally:
            zygote.close()


@dataclass
class Installation:
    """One home, one log, one database; its services live as often as they are killed, `scenario` saying where.

    `deaths` are the points at which they were, `seen` every point that they came by in each life.
    """

    ground: Ground
    home: Path
    dsn: str
    scenario: Sequence[Point] = ()
    mutant: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    deaths: list[Point] = field(default_factory=list)
    lives: int = 0
    pid: int = 0
    keeping: asyncio.Task[None] = field(init=False)
    _over: bool = False
    _ends: asyncio.Condition = field(default_factory=asyncio.Condition)
    _expected: bool = False

    @property
    def env(self) -> dict[str, str]:
        return {
            **environment_of(self.home, self.ground.broker(TOGETHER), self.dsn),
            "RCLAUDE_OWNER_FILE": str(self.home / "owner.json"),
            "RCLAUDE_HTTP_PORT": str(self.ground.port),
            **QUICK,
            **self.environment,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ground.port}"

    @property
    def log(self) -> Path:
        return self.home / "services.log"

    def record(self, life: int) -> Path:
        return self.home / f"points.{life}"

    def seen(self, life: int) -> list[Point]:
        return read(self.record(life)) if self.record(life).exists() else []

    async def keep(self) -> None:
        """Start the services, again and again; raises when they end though nobody has killed or stopped them."""
        while not self._over:
            crash = self.scenario[len(self.deaths)] if len(self.deaths) < len(self.scenario) else None
            self._expected = False
            self.pid = self.ground.zygote.fork(
                environment=self.env,
                log=str(self.log),
                record=str(self.record(self.lives)),
                crash=str(crash) if crash else None,
                mutant=self.mutant,
            )
            await _ended(self.pid)
            points = self.seen(self.lives)
            self.lives += 1
            if crash is not None and points and points[-1] == crash:
                self.deaths.append(crash)
            elif not self._expected:
                at = points[-1] if points else "the start"
                raise AssertionError(
                    f"the services ended by themselves at {at}, not at {crash}:\n{self.said()}"
                )
            async with self._ends:
                self._ends.notify_all()

    def said(self) -> str:
        """The end of what the services have logged."""
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else "(nothing)"

    async def where(self) -> str:
        """Where the tasks of the services wait, if they still can say it."""
        self.signal(signal.SIGUSR2)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                while SAID_WHERE not in self.said():  # noqa: ASYNC110  another process says it
                    await asyncio.sleep(0.02)
        return self.said()

    async def end(self, how: signal.Signals) -> None:
        """Stop or kill the services, and wait for their end; they are started again."""
        lives = self.lives
        self._expected = True
        self.signal(how)
        async with self._ends:
            await self._ends.wait_for(lambda: self.lives > lives)

    async def rebuild(self) -> None:
        """Have the services rebuild every view; return when they have, or have died of it."""
        lives = self.lives
        while self.lives == lives and not (self.home / "rebuilt").exists():
            self.signal(signal.SIGUSR1)  # again, for one that is not up yet takes no notice
            await asyncio.sleep(0.02)

    async def last(self) -> None:
        """Kill the services for good."""
        self._over = self._expected = True
        self.signal(signal.SIGKILL)
        with suppress(AssertionError):
            await self.keeping

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the services, if there are any just now."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


async def _ended(pid: int) -> None:
    """Wait for the end of a process that is nobody's child here."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop.add_reader(watched, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)


@asynccontextmanager
async def installation(ground: Ground, **how: Any) -> AsyncIterator[Installation]:
    """A new one: empty log, empty database, fresh home. Its services are killed at the end."""
    admin: Broker = ground.broker(ADMIN)
    delete_streams(admin)
    client = await nats.connect(**admin.options)
    await ensure_streams(client)
    await client.close()
    with ground.database.fresh() as dsn, TemporaryDirectory(prefix="rclaude-crash-") as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        create_kek(home / "kek")
        owner.ensure(home / "owner.json")
        one = Installation(ground, home, dsn, **how)
        one.keeping = asyncio.create_task(one.keep())
        try:
            yield one
        finally:
            await one.last()
