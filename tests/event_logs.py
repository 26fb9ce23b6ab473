"""What the tests of event logs share: a codec, events, a log over a real broker, and a proxy that cuts it off."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit
from uuid import uuid4

import nats
import orjson
from nats.aio.client import Client

from remote_claude.eventsourcing.events import Codec, NewEvent, RecordedEvent
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.jetstream.streams import ensure_stream, events_config
from remote_claude.eventsourcing.log import EventLog
from servers import Broker

_names = count(1)


@dataclass(frozen=True)
class Happened:
    """An event for tests."""

    what: str
    type: ClassVar[str] = "Happened"


class JsonCodec:
    """Version 1 of `Happened`."""

    def encode(self, event: Happened) -> tuple[str, int, bytes]:
        return "Happened", 1, orjson.dumps({"what": event.what})

    def decode(self, type: str, version: int, data: bytes) -> Any:
        assert (type, version) == ("Happened", 1)
        return Happened(**orjson.loads(data))


def happened(what: str = "x", *, event_id: str | None = None, **envelope: Any) -> NewEvent:
    return NewEvent(
        event=Happened(what),
        event_id=event_id or str(uuid4()),
        occurred_at="2026-01-02T03:04:05.000006Z",
        **envelope,
    )


def whats(events: Sequence[RecordedEvent]) -> list[str]:
    return [event.event.what for event in events]


async def everything(log: EventLog, **where: Any) -> list[RecordedEvent]:
    return [event async for batch in log.read(**where) for event in batch]


async def connect(broker: Broker, url: str | None = None) -> Client:
    """A connection that tries again quickly and for ever, and takes its errors quietly."""

    async def quiet(_: Exception) -> None: ...

    options = broker.options | ({"servers": [url]} if url else {})
    return await nats.connect(
        **options,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.02,
        connect_timeout=2,
        ping_interval=5,
        error_cb=quiet,
    )


@dataclass
class Place:
    """A stream of events of its own on a broker, and logs over it."""

    broker: Broker
    stream: str
    prefix: str
    codec: Codec = field(default_factory=JsonCodec)

    def subject(self, aggregate: str, producer: str = "gateway") -> str:
        return f"{self.prefix}.{producer}.org_1.task.{aggregate}"

    @asynccontextmanager
    async def log(
        self, *, url: str | None = None, plain: bool = False, **options: Any
    ) -> AsyncIterator[JetStreamEventLog]:
        """A log with a connection of its own, as another process has; a `plain` one uses nats-py's public API only."""
        client = await connect(self.broker, url)
        if plain:
            Wire(client)
        try:
            async with JetStreamEventLog(
                client, self.codec, stream=self.stream, prefix=self.prefix, **options
            ) as log:
                yield log
        finally:
            with suppress(ConnectionResetError):  # nats-py's, with a dead broker
                await client.close()


async def new_place(broker: Broker, *, replicas: int = 1) -> Place:
    n = f"{next(_names)}-{uuid4().hex[:6]}"
    place = Place(broker, f"EVENTS-{n}", f"ev-{n}")
    client = await connect(broker)
    try:
        await ensure_stream(client, events_config(place.stream, place.prefix, replicas))
    finally:
        await client.close()
    return place


class Proxy:
    """A TCP proxy in front of a broker.

    `drops_answers`: what the broker sends is dropped. While `passes_answers` is not set, it is kept back. `passes`: so
    many more bytes of the client's get through; the rest is dropped, and counted as `swallowed`. `cut` breaks the
    connections; new ones are whole again.
    """

    def __init__(self, broker: Broker) -> None:
        target = urlsplit(broker.url)
        self._target = target.hostname or "", target.port or 4222
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self.drops_answers = False
        self.passes_answers = asyncio.Event()
        self.passes_answers.set()
        self.passes: int | None = None
        self.swallowed = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        if self._serving:
            await asyncio.wait(self._serving)

    def cut(self) -> None:
        self.drops_answers, self.passes = False, None
        self.passes_answers.set()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        with suppress(OSError):
            upstream, to_broker = await asyncio.open_connection(*self._target)
            self._writers |= {writer, to_broker}
            await asyncio.gather(self._up(reader, to_broker), self._down(upstream, writer))
            self._writers -= {writer, to_broker}

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.passes is not None:
                    self.swallowed += max(0, len(data) - self.passes)
                    data = data[: self.passes]
                    self.passes -= len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self.passes_answers.wait()
                if not self.drops_answers:
                    writer.write(data)
                    await writer.drain()
        writer.close()


async def until(fact: Callable[[], bool | Awaitable[bool]], timeout: float = 60.0) -> None:
    """Wait for a fact."""
    async with asyncio.timeout(timeout):
        while not (answer if isinstance(answer := fact(), bool) else await answer):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
