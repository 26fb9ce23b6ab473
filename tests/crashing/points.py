"""Where a process of the product can be killed: before and after all that it says to anybody else.

The boundaries are wrapped from outside, in the libraries that the product calls; the product has no hook for it. A point
is named by the kind of boundary, before or after, the place in the product that crosses it, and how often that place
had crossed it in this process.

| kind | before | after |
|---|---|---|
| `append` | the log is asked to append | the caller has its position |
| `publish` | the frames are sent | the broker has them, and has not answered |
| `acknowledged` | the broker's answer has come | it has been handled |
| `output` | a chunk of output is sent | the broker has it, and has not answered |
| `written` | (the same as `output`, after) | its writer has the broker's answer |
| `commit` | COMMIT, or a statement that commits itself, is sent | PostgreSQL has answered |
| `object`, `key`, `head` | an object, a data key, a signed head is stored | it has been stored |
| `lease` | a renewal or its answer is sent | it has been |
| `worker` | a message to a worker is sent | it has been |
| `effect` | a webhook is told | its status has come |
| `answer` | a request that changes something is answered | it has been |
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar
from weakref import WeakSet

import nats.aio.client
import nats.aio.msg
import nats.js.kv
import orjson
import psycopg
from fastapi import FastAPI
from psycopg.pq import TransactionStatus
from websockets.asyncio.server import ServerConnection

from remote_claude.contracts.leases import SUBJECT
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.fast_connection import FastWire
from remote_claude.gateway.webhook_deliveries import Deliveries
from remote_claude.runtime.agent_output import OutputStream
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.objects import Objects

PLUMBING = {
    f"remote_claude.{module}"
    for module in (
        "eventsourcing.command_handler",
        "runtime.telemetry.observed_log",
        "runtime.agent_output",
        "runtime.objects",
        "runner.handlers",
        "runner.sessions.channel",
    )
}
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|COPY|TRUNCATE|WITH moved)\b", re.IGNORECASE)
ID = re.compile(r"[a-z]+_[0-9a-z]{26}|[0-9a-f]{64}")
ASK_AGAIN = {401, 503}
"""Answers whose client does what it does when its services have died: it asks again. Whether they come up is chance."""
EVENT = re.compile(rb"ce-type: (\w+)")
REPLY = re.compile(rb"HPUB ev\.\S+ (\S+) \d+ \d+\r\n")
Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """A moment at which a process can be killed."""

    kind: str
    when: str
    site: str
    hit: int

    def __str__(self) -> str:
        return f"{self.when} {self.kind} {self.site} #{self.hit}"

    @property
    def place(self) -> Point:
        """The same, whatever the hit."""
        return Point(self.kind, self.when, self.site, 1)

    @classmethod
    def of(cls, text: str) -> Self:
        """The point that `str` has written."""
        rest, _, hit = text.rpartition(" #")
        when, kind, site = rest.split(" ", 2)
        return cls(kind, when, site, int(hit))


def read(record: Path) -> list[Point]:
    """The points that a process came by, in order. The last one is that of its death if it was killed at one."""
    return [Point.of(line) for line in record.read_text().splitlines()]


class Probes:
    """The points of this process: each is written down when it is come by, and one may be the end."""

    def __init__(self, record: Path, crash: Point | None) -> None:
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._crash, self._hits = crash, Counter[tuple[str, str, str]]()

    def reach(self, kind: str, when: str, site: str) -> None:
        """Come by a point."""
        self._hits[kind, when, site] += 1
        point = Point(kind, when, site, self._hits[kind, when, site])
        os.write(self._record, f"{point}\n".encode())
        if point == self._crash:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(
        self, kind: str, call: Callable[Parameters, Awaitable[Answer]]
    ) -> Callable[Parameters, Coroutine[Any, Any, Answer]]:
        """A coroutine function with a point before and one after it, at the place that calls it."""

        @wraps(call)
        async def probed(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
            here = site()
            self.reach(kind, "before", here)
            result = await call(*args, **kwargs)
            self.reach(kind, "after", here)
            return result

        return probed

    def install(self) -> None:
        """Wrap every boundary, before anything is connected."""
        JetStreamEventLog.append = self.around("append", JetStreamEventLog.append)  # type: ignore[method-assign]
        Heads.sign = self._signed(Heads.sign)  # type: ignore[method-assign]
        Objects._put = self.around("object", Objects._put)  # type: ignore[method-assign]
        for name in ("create", "purge"):
            wrapped = self.around("key", getattr(nats.js.kv.KeyValue, name))
            setattr(nats.js.kv.KeyValue, name, wrapped)
        Deliveries._post = self.around("effect", Deliveries._post)  # type: ignore[method-assign]
        nats.aio.msg.Msg.respond = self.around("lease", nats.aio.msg.Msg.respond)  # type: ignore[method-assign]
        self._events()
        self._output()
        self._commits()
        self._requests()
        self._workers()
        self._answers()

    def _signed(self, sign: Callable[..., Path]) -> Callable[..., Path]:
        def probed(*args: Any, **kwargs: Any) -> Path:
            self.reach("head", "before", "runtime.archive.copier")
            path = sign(*args, **kwargs)
            self.reach("head", "after", "runtime.archive.copier")
            return path

        return probed

    def _events(self) -> None:
        send, reply, expected = FastWire.send, FastWire._reply, dict[bytes, str]()

        async def sending(wire: FastWire, frames: bytes) -> None:
            named = EVENT.search(frames)
            if named is None:
                await send(wire, frames)
                return
            here = named[1].decode()
            expected.update(dict.fromkeys(REPLY.findall(frames), here))
            self.reach("publish", "before", here)
            await send(wire, frames)
            await wire.client.flush()
            self.reach("publish", "after", here)

        def replied(wire: FastWire, subject: bytes, to: bytes, headers: bytes, data: bytes) -> None:
            here = expected.pop(subject, None) if headers or data else None
            if here is not None:
                self.reach("acknowledged", "before", here)
            reply(wire, subject, to, headers, data)
            if here is not None:
                self.reach("acknowledged", "after", here)

        FastWire.send, FastWire._reply = sending, replied  # type: ignore[method-assign,assignment]

    def _output(self) -> None:
        publish, write = nats.aio.client.Client.publish, OutputStream.publish

        async def publishing(client: Any, subject: str, *args: Any, **kwargs: Any) -> None:
            if not subject.startswith("out."):
                await publish(client, subject, *args, **kwargs)
                return
            here = "runtime.agent_output:OutputStream.publish"  # it is called in a task of its own
            self.reach("output", "before", here)
            await publish(client, subject, *args, **kwargs)
            await client.flush()
            self.reach("output", "after", here)

        async def writing(stream: OutputStream, *args: Any) -> int:
            sequence = await write(stream, *args)
            self.reach("written", "after", site())
            return sequence

        nats.aio.client.Client.publish = publishing  # type: ignore[method-assign,assignment]
        OutputStream.publish = writing  # type: ignore[method-assign,assignment]

    def _commits(self) -> None:
        execute, leave, commit = (
            psycopg.AsyncCursor.execute,
            psycopg.AsyncTransaction.__aexit__,
            psycopg.AsyncConnection.commit,
        )
        written = WeakSet[Any]()

        async def executing(cursor: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
            connection = cursor.connection
            if not WRITES.match(_text(query, connection)):
                return await execute(cursor, query, *args, **kwargs)
            if not connection.autocommit or connection.pgconn.transaction_status != TransactionStatus.IDLE:
                written.add(connection)
                return await execute(cursor, query, *args, **kwargs)
            here = site()
            self.reach("commit", "before", here)
            result = await execute(cursor, query, *args, **kwargs)
            self.reach("commit", "after", here)
            return result

        async def leaving(transaction: Any, kind: Any, error: Any, trace: Any) -> bool:
            connection = transaction.connection
            commits = transaction._outer_transaction and kind is None and connection in written
            here = site() if commits else ""
            if commits:
                written.discard(connection)
                self.reach("commit", "before", here)
            left = await leave(transaction, kind, error, trace)
            if commits:
                self.reach("commit", "after", here)
            return left

        async def committing(connection: Any) -> None:
            here = site()
            commits = connection in written
            if commits:
                written.discard(connection)
                self.reach("commit", "before", here)
            await commit(connection)
            if commits:
                self.reach("commit", "after", here)

        psycopg.AsyncCursor.execute = executing  # type: ignore[method-assign,assignment]
        psycopg.AsyncTransaction.__aexit__ = leaving  # type: ignore[method-assign,assignment]
        psycopg.AsyncConnection.commit = committing  # type: ignore[method-assign,assignment]

    def _requests(self) -> None:
        request = nats.aio.client.Client.request
        asked = self.around("lease", request)

        async def requesting(client: Any, subject: str, *args: Any, **kwargs: Any) -> Any:
            ask = asked if subject == SUBJECT else request
            return await ask(client, subject, *args, **kwargs)

        nats.aio.client.Client.request = requesting  # type: ignore[method-assign,assignment]

    def _workers(self) -> None:
        send = ServerConnection.send

        async def sending(connection: Any, message: Any, *args: Any, **kwargs: Any) -> None:
            here = site()
            if not here.startswith("runner.sessions.worker_session") or not isinstance(message, str):
                await send(connection, message, *args, **kwargs)
                return
            here = f"{here} {orjson.loads(message)['type']}"
            self.reach("worker", "before", here)
            await send(connection, message, *args, **kwargs)
            self.reach("worker", "after", here)

        ServerConnection.send = sending  # type: ignore[method-assign,assignment]

    def _answers(self) -> None:
        serve = FastAPI.__call__

        async def serving(app: Any, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "DELETE"):
                await serve(app, scope, receive, send)
                return
            here = f"{scope['method']} {ID.sub('ID', scope['path'])}"

            async def sending(message: Any) -> None:
                if message["type"] == "http.response.start" and message["status"] not in ASK_AGAIN:
                    self.reach("answer", "before", f"{here} {message['status']}")
                await send(message)
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    self.reach("answer", "after", here)

            await serve(app, scope, receive, sending)

        FastAPI.__call__ = serving  # type: ignore[method-assign,assignment]


def _text(query: Any, connection: Any) -> str:
    match query:
        case str():
            return query
        case bytes():
            return query.decode()
        case _:
            return str(query.as_string(connection))


def site() -> str:
    """The place in the product that has called, as `module:function`, with the view that it works on."""
    frame: Any = sys._getframe(2)
    place = ""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("remote_claude.") and module not in PLUMBING:
            place = place or f"{module.removeprefix('remote_claude.')}:{frame.f_code.co_qualname}"
            if not place.startswith("eventsourcing."):
                return place
            view = frame.f_locals.get("view") or getattr(frame.f_locals.get("self"), "view", None)
            if view is not None:
                return f"{place} {view.name}"
        frame = frame.f_back
    return place or "?"
