"""The power goes, at any moment: what had been acknowledged is there, once, at its place, and everything follows it.

Broker, PostgreSQL, objects and keys are on a disk that forgets what was not synced (`disks`). `RCLAUDE_TEST_SEED` runs
one seed again.
"""

import asyncio
import os
import random
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
import psutil
import pytest

from disks import Disk, disk, end
from event_logs import JsonCodec, Place, connect, everything, new_place
from log_writers import Writers
from projecting import Tally, open_pool, running, running_work, tally
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.streams import EVENTS, ensure_streams
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.archive import start
from remote_claude.runtime.archive.copier import Copier
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.archive.verify import verify
from remote_claude.runtime.embedded.home import Home
from remote_claude.runtime.embedded.nats import NatsServer, NatsUser, find_nats
from remote_claude.runtime.embedded.postgres import PostgresServer, find_postgres
from remote_claude.runtime.host import now
from servers import NATS_USER, Broker, OwnServer

pytestmark = pytest.mark.root

SEED = int(os.environ.get("RCLAUDE_TEST_SEED", "20261124"))


class Counted(Tally):
    """A view of what the writers write."""

    handles = frozenset({"Happened"})


class AsNumber(JsonCodec):
    """`Happened` as `Tally` wants it."""

    def decode(self, type: str, version: int, data: bytes) -> Any:
        return {"n": 1}


@dataclass
class Machine:
    """A broker and a PostgreSQL with their data on one disk."""

    disk: Disk
    broker: Broker
    nats: OwnServer
    postgres: OwnServer
    dsn: str

    def lose_power(self) -> None:
        """Everything stops; whatever was not synced is gone."""
        victims = [child for s in (self.nats, self.postgres) for child in psutil.Process(s.pid).children()]
        self.disk.cut()
        self.nats.kill()
        self.postgres.kill()
        end(victims)

    def get_power_back(self) -> None:
        self.disk.unmount()
        self.disk.mount()
        self.nats.start()
        self.postgres.start()


@contextmanager
def machine(sync_interval: str = "always") -> Iterator[Machine]:
    with disk() as one:
        home = Home(one.path / "home")
        home.create()
        nats = NatsServer(
            folder=home.nats, port=home.port("nats"), users=[NatsUser(name=NATS_USER)], binary=find_nats()
        )
        child = nats.prepare()
        config = home.nats / "nats.conf"
        config.write_text(
            config.read_text().replace('"sync_interval": "always"', f'"sync_interval": "{sync_interval}"')
        )
        postgres = PostgresServer(
            folder=home.postgres, port=home.port("postgres"), binaries=find_postgres(), durable=True
        )
        subprocess.run(["sync", "-f", str(one.path)], check=True)
        log = one.path.parent / "log"
        log.mkdir()
        servers = (
            OwnServer(child, nats.answers, log),
            OwnServer(postgres.prepare(), postgres.answers, log),
        )
        broker = Broker(servers[0], nats.url, nats.seed_file(NATS_USER))
        try:
            yield Machine(one, broker, *servers, postgres.dsn)
        finally:
            for server in servers:
                with suppress(AssertionError):  # it is down already
                    server.stop()
            one.unmount()


@asynccontextmanager
async def views_and_archive(log: JetStreamEventLog, pool: Pool) -> AsyncIterator[tuple[Projector, Copier]]:
    """What follows the log, in this process."""
    async with Tail(log) as tail:
        projector, copier = Projector(Counted(), pool, log, tail), Copier(pool, tail, standby_interval=0.05)
        async with running_work(copier.run()), running(projector):
            yield projector, copier


async def written_until_cut(one: Machine, place: Place, pool: Pool, appends: int) -> dict[str, int]:
    """Writers at work, with a view and the archive behind them, until the power goes. What was acknowledged by then."""
    load = Writers(place)
    async with place.log() as log:
        tasks = [asyncio.create_task(load.run(log, n)) for n in range(12)]
        try:
            with suppress(BaseExceptionGroup):  # the servers that it follows are gone
                async with views_and_archive(log, pool):
                    await load.go_on(appends)
                    acknowledged = dict(load.acknowledged)
                    one.lose_power()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    return acknowledged


async def whole(one: Machine, place: Place, acknowledged: dict[str, int], folder: Path) -> None:
    """What was acknowledged is in the log, once, at its place; views and archive go on from where they were."""
    async with place.log() as log, open_pool(one.dsn) as pool:
        await start.check(log, pool)  # no checkpoint is ahead of the log
        events = await everything(log)
        assert [event.position for event in events] == list(range(1, len(events) + 1))
        assert acknowledged.items() <= {event.event_id: event.position for event in events}.items()
        assert len({event.event_id for event in events}) == len(events)
        async with views_and_archive(log, pool) as (projector, copier):
            assert await projector.wait_for(len(events), 30)
            assert await copier.wait_for(len(events), 30)
            applied = {stream: count for stream, (count, _) in (await tally(pool, Counted())).items()}
        assert applied == Counter(event.stream.split(".")[-1] for event in events)
        heads = Heads(folder / "heads", folder / "head_key", now)
        assert (await verify(log, pool, heads)).findings == []


async def cuts(count: int, folder: Path) -> None:
    random_ = random.Random(SEED)
    with machine() as one:
        client = await connect(one.broker)
        await ensure_streams(client)
        await client.close()
        place = Place(one.broker, EVENTS, "ev", AsNumber())
        acknowledged: dict[str, int] = {}
        for _ in range(count):
            async with open_pool(one.dsn) as pool:
                acknowledged |= await written_until_cut(one, place, pool, random_.randint(1, 400))
            one.get_power_back()
            await whole(one, place, acknowledged, folder)


async def test_what_was_acknowledged_survives_power_cuts(tmp_path: Path) -> None:
    await cuts(3, tmp_path)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
async def test_what_was_acknowledged_survives_150_power_cuts(tmp_path: Path) -> None:
    await cuts(150, tmp_path)


async def test_the_brokers_default_flush_setting_loses_what_it_acknowledged() -> None:
    """Else this harness would prove nothing."""
    with machine(sync_interval="2m") as one:
        place = await new_place(one.broker)
        async with open_pool(one.dsn) as pool:
            acknowledged = await written_until_cut(one, place, pool, 300)
        one.get_power_back()
        client = await connect(one.broker)
        try:
            state = (await client.jetstream().stream_info(place.stream)).state
            kept = state.messages
        except nats.errors.Error:
            kept = 0  # not even the stream itself
        finally:
            await client.close()
        assert kept < len(acknowledged)
