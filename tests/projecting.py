"""A log to write to, a view that would show every event applied twice or never, and what drives them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import BigInteger
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from remote_claude.eventsourcing.events import NewEvent, RecordedEvent, stream_id
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import load, reading, upsert
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.views import View


class Undecodable(Exception):
    """What a codec raises; `code` says which kind it is."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Codec:
    """Takes what is stored as it comes. Version 9 is of the future, and so is the type `Unheard`."""

    def encode(self, event: tuple[str, int, bytes]) -> tuple[str, int, bytes]:
        return event

    def decode(self, type: str, version: int, data: bytes) -> Any:
        if type == "Unheard":
            raise Undecodable("unknown_event")
        if version == 9:
            raise Undecodable("unknown_event_version")
        return orjson.loads(data)


class Log(InMemoryEventLog):
    """A log in memory that is easy to write to, and to damage."""

    tail: Tail

    def __init__(self) -> None:
        super().__init__(Codec(), heartbeat=0.1)

    async def add(
        self, stream: str, type: str = "Counted", *, version: int = 1, data: bytes = b'{"n": 1}'
    ) -> int:
        """Append one event and return its position."""
        name = stream_id("test", "o", "thing", stream)
        history = await self.read_stream(name)
        event = NewEvent(
            event=(type, version, data),
            event_id=str(UUID(int=self.end + 1)),
            occurred_at="2026-01-01T00:00:00.000000Z",
        )
        return await self.append(name, [event], expected_position=history[-1].position if history else 0)

    @property
    def end(self) -> int:
        return len(self._events)

    def lose_last(self) -> None:
        """What a broker without synced writes does in a power cut."""
        self._events.pop()

    def change_version(self, position: int, version: int) -> None:
        """As if the event had been written by, or is read by, another release."""
        event = self._events[position - 1]
        event.version, event._event = version, None


class TallyTables(SQLModel, registry=registry()):
    """The tables of `Tally`."""


class TallyRow(TallyTables, table=True):
    """How many events a stream has had, and what they add up to."""

    __tablename__ = "tally"
    stream: str = Field(primary_key=True)
    count: int = Field(sa_type=BigInteger)
    total: int = Field(sa_type=BigInteger)
    last: int = Field(sa_type=BigInteger)


class Tally(View):
    """Counts: an event applied twice or never shows. `Cursed` can't be folded, `Broken` not be stored."""

    name = "test_tally"
    version = 1
    tables = TallyTables.metadata
    handles = frozenset({"Counted", "Cursed", "Broken", "Unheard"})

    def __init__(self, name: str = "test_tally", version: int = 1) -> None:
        self.name = name  # type: ignore[misc]  # one class, several views
        self.version = version  # type: ignore[misc]

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        rows = await load(connection, TallyRow, {event.stream for event in events})
        for event in events:
            row = rows.setdefault(event.stream, {"stream": event.stream, "count": 0, "total": 0, "last": 0})
            if event.type == "Cursed":
                raise ValueError("cursed")
            total = "a lot" if event.type == "Broken" else row["total"] + event.event["n"]
            row |= {"count": row["count"] + 1, "total": total, "last": event.position}
        await upsert(connection, TallyRow, rows.values())


async def tally(pool: Pool, view: View) -> dict[str, tuple[int, int]]:
    """Count and last position by the last token of the stream."""
    async with reading(pool, view, org=None) as connection:
        rows = await (await connection.execute("SELECT * FROM tally")).fetchall()
    return {row["stream"].split(".")[-1]: (row["count"], row["last"]) for row in rows}


async def parked(pool: Pool, view: View) -> dict[int, str]:
    """The reasons of the parked events by position."""
    async with reading(pool, view, org=None) as connection:
        rows = await (
            await connection.execute("SELECT position, reason FROM parked ORDER BY position")
        ).fetchall()
    return {row["position"]: row["reason"] for row in rows}


@asynccontextmanager
async def open_pool(dsn: str) -> AsyncIterator[Pool]:
    """A small pool on a database."""
    pool: Pool = AsyncConnectionPool(dsn, min_size=1, max_size=4, open=False)
    async with pool:
        yield pool


@asynccontextmanager
async def running(projector: Projector) -> AsyncIterator[Projector]:
    """A projector that runs meanwhile; what it raises is raised here."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(projector.run())
        try:
            yield projector
        finally:
            task.cancel()


@asynccontextmanager
async def running_work(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Something that runs meanwhile; what it raises is raised here."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()


async def stored_position(pool: Pool, view: View) -> int:
    """The checkpoint as it is in the database."""
    async with reading(pool, view, org=None) as connection:
        row = await (await connection.execute("SELECT position FROM checkpoint")).fetchone()
    assert row is not None
    return int(row["position"])


async def eventually(fact: Callable[[], Awaitable[bool]] | Callable[[], bool], timeout: float = 30.0) -> None:
    """Wait for a fact."""
    async with asyncio.timeout(timeout):
        while True:
            found = fact()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.005)


class Gated(Tally):
    """A tally that waits in the middle of its transaction, for as long as `gate` is closed."""

    def __init__(self, name: str = "test_tally", version: int = 1) -> None:
        super().__init__(name, version)
        self.gate, self.inside = asyncio.Event(), asyncio.Event()
        self.backend = 0

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        await super().apply(connection, events)
        self.backend = connection.info.backend_pid
        self.inside.set()
        await self.gate.wait()


class _CancelledAt:
    def __init__(self, work: Coroutine[Any, Any, None], step: int) -> None:
        self._work, self._step = work, step

    def __await__(self) -> Generator[Any, Any, None]:
        inner = self._work.__await__()
        with suppress(StopIteration):
            waits = inner.send(None)
            for step in count():
                try:
                    if step == self._step:
                        raise asyncio.CancelledError
                    answer = yield waits
                except BaseException as error:
                    waits = inner.throw(error)
                else:
                    waits = inner.send(answer)


async def cancelled_at(work: Coroutine[Any, Any, Any], step: int) -> None:
    """Run a coroutine and cancel it where it waits for the n-th time, counted from 0."""
    await _CancelledAt(work, step)
