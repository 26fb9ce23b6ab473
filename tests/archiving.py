"""A log on a real broker, its archive in a real PostgreSQL, and the ways to spoil either."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from event_logs import JsonCodec, connect, happened
from projecting import eventually, running_work
from remote_claude.eventsourcing.jetstream import JetStreamEventLog, streams
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.message_frames import publish_frame
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.archive.copier import Copier
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.archive.store import Head
from remote_claude.runtime.archive.verify import verify
from servers import Broker

Message = tuple[str, bytes, bytes]
"""Subject, headers, data."""


@dataclass
class Days:
    """A clock that stands still until it is set."""

    now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Archive:
    """A broker's log of 40 events, archived, and everything that the commands work on."""

    broker: Broker
    client: Client
    log: JetStreamEventLog
    pool: Pool
    heads: Heads
    clock: Days
    at: dict[str, int] = field(default_factory=dict)

    async def fill(self, events: int = 40) -> None:
        """Append events to ten streams, four of them in one append now and then."""
        n = await self.log.last_position()
        while n < events:
            stream = f"ev.gateway.{'org_1' if n % 3 else '_'}.task.task_{n % 10}"
            batch = [
                happened(f"what {m} \u00e9", subject="a b%c")
                for m in range(n, min(events, n + 1 + 3 * (n % 2)))
            ]
            n = self.at[stream] = await self.log.append(
                stream, batch, expected_position=self.at.get(stream, 0)
            )

    async def copied(self) -> None:
        """Archive everything that there is."""
        async with Tail(self.log) as tail:
            copier = Copier(self.pool, tail, standby_interval=0.05)
            async with running_work(copier.run()):
                assert await copier.wait_for(await self.log.last_position(), 30)

    async def head(self) -> Head:
        """Where the archive ends."""
        [(position, hash)] = await self.sql("SELECT position, hash FROM log.checkpoint")
        return Head(position, hash)

    async def found(self) -> list[tuple[str, str, int, int]]:
        """What `verify` finds: side, kind, first, last."""
        report = await verify(self.log, self.pool, self.heads)
        return [(f.side, f.kind, f.first, f.last) for f in report.findings]

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        """One statement with administrator's rights."""
        async with self.pool.connection() as connection:
            found = await connection.execute(statement.encode(), values)
            return await found.fetchall() if found.description else []

    async def messages(self) -> list[Message]:
        """The broker's log, byte for byte."""
        return [(e.stream, e.headers, e.data) async for batch in self.log.read() for e in batch]

    async def written_again(self, messages: Sequence[Message | None], first: int = 1) -> None:
        """Another stream of the same name, with these messages; None is one that has been deleted."""
        wire = Wire.over(self.client)
        js = self.client.jetstream()
        await js.delete_stream(streams.EVENTS)
        config = streams.events_config().as_dict() | {"deny_delete": False, "first_seq": first}
        answer = await wire.api(f"STREAM.CREATE.{streams.EVENTS}", config)
        assert "error" not in answer, answer
        gaps = [n for n, message in enumerate(messages, first) if message is None]
        for subject, headers, data in [m or ("ev.a.b.c.d", b"", b"") for m in messages]:
            await wire.send(publish_frame(subject, "", headers, data))
        for gap in gaps:
            await eventually(lambda: self._has(first + len(messages) - 1))
            assert await js.delete_msg(streams.EVENTS, gap)
        await eventually(lambda: self._has(first + len(messages) - 1))

    async def _has(self, position: int) -> bool:
        return await self.log.last_position() == position


@asynccontextmanager
async def archived(
    broker: Broker, pool: Pool, folder: Path, events: int = 40, *, replicas: int = 1
) -> AsyncIterator[Archive]:
    """The log `EVENTS` of an empty broker with so many events, and its archive."""
    client = await connect(broker)
    await streams.ensure_streams(client, replicas=replicas)
    clock = Days()
    async with JetStreamEventLog(client, JsonCodec()) as log:
        one = Archive(broker, client, log, pool, Heads(folder / "heads", folder / "head_key", clock), clock)
        await one.fill(events)
        await one.copied()
        one.heads.sign(await one.head(), "2026-03-01")
        yield one
    await client.close()
