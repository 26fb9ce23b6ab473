"""Connections of an HTTP server, before anything is known of who asks.

A client without a credential can open connections and say nothing, or say it slowly. So every phase of a request has a
time limit and a size limit, and the connections that have not sent a whole request head are limited per address and in
all: the oldest of them gives way to a new one. A client that sends its request at once is not affected. The limit in all
stays below the process's limit of open files, so that broker and database can always be reached.
"""

from __future__ import annotations

import asyncio
import resource
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from remote_claude.edge.problems import Problem, document

HEAD_S = 10.0
"""Seconds from the first byte of a request, or from the connection, to the end of its headers."""
BODY_S = 30.0
"""Seconds in which the next bytes of a body have to come."""
BODY_RATE = 1024
"""Bytes a second that a body has to bring on average, once it has taken `BODY_S`."""
LINGER_S = 1.0
"""Seconds in which a client that was refused may read why: a reset would take the answer away."""
MAX_HEAD_BYTES = 64 * 1024
PER_ADDRESS = 2_000
"""Connections of one address that have not sent a whole request head."""
MOST_CONNECTIONS = 20_000
MOST_FILES = 65_536
RESERVED_FILES = 1_024
"""Open files that connections leave to the broker, the database, objects and sandboxes."""
BACKLOG = 512
"""Connections that the kernel accepts ahead of this process."""

SLOW = Problem(
    HTTPStatus.REQUEST_TIMEOUT,
    "request_timeout",
    f"The request stopped coming. Send its headers within {HEAD_S:.0f} s, and its body without a pause of {BODY_S:.0f} s.",
)
LARGE_HEAD = Problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers_too_large",
    f"The request's line and headers are larger than {MAX_HEAD_BYTES} bytes. Send less of them.",
)


def raise_file_limit() -> int:
    """Let this process open as many files as its hard limit allows, and return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return soft


def most_connections(files: int) -> int:
    """How many connections a process may hold that may open `files` files."""
    return max(64, min(MOST_CONNECTIONS, files - RESERVED_FILES - BACKLOG))


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`in_all`: connections of the process. `per_address`: those of one address without a whole request head."""

    in_all: int
    per_address: int = PER_ADDRESS
    head_s: float = HEAD_S
    body_s: float = BODY_S


class Phase(Enum):
    """Where a connection is: nothing has come yet, in a request's head, in its body, between two requests."""

    NEW = "new"
    HEAD = "head"
    BODY = "body"
    BETWEEN = "between"


class Connections:
    """The connections of one server that have not sent a whole request head, oldest first."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self._new: OrderedDict[BoundedProtocol, None] = OrderedDict()
        self._by_address: defaultdict[str, OrderedDict[BoundedProtocol, None]] = defaultdict(OrderedDict)
        self._idle: OrderedDict[BoundedProtocol, None] = OrderedDict()
        self.dropped = 0
        """Connections that gave way to others."""

    def opened(self, connection: BoundedProtocol, in_all: int) -> None:
        """Count a connection, and drop the oldest silent one where there are too many."""
        self._new[connection] = None
        same = self._by_address[connection.address]
        same[connection] = None
        if len(same) > self.limits.per_address:
            self._drop(next(iter(same)))
        elif in_all > self.limits.in_all:
            self._drop(next(iter(self._new)) if len(self._new) > 1 else next(iter(self._idle), connection))

    def head_received(self, connection: BoundedProtocol) -> None:
        """The connection has sent a whole request head."""
        self._idle.pop(connection, None)
        if self._new.pop(connection, connection) is None:
            self._forget(connection)

    def answered(self, connection: BoundedProtocol) -> None:
        """The connection may send its next request."""
        self._idle[connection] = None

    def closed(self, connection: BoundedProtocol) -> None:
        """The connection is closed."""
        self.head_received(connection)

    def _forget(self, connection: BoundedProtocol) -> None:
        same = self._by_address[connection.address]
        same.pop(connection, None)
        if not same:
            del self._by_address[connection.address]

    def _drop(self, connection: BoundedProtocol) -> None:
        self.dropped += 1
        self.head_received(connection)
        connection.transport.abort()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with limits of time and size for the head and the body of every request."""

    def __init__(self, connections: Connections, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counted, self._limits = connections, connections.limits
        self._deadline: asyncio.TimerHandle | None = None
        self._phase = Phase.NEW
        self._head_bytes = self._unparsed = self._body_bytes = 0
        self._body_began = 0.0
        self._refused = False
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._wait(self._limits.head_s)
        self._counted.opened(self, len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._counted.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._phase is Phase.HEAD:
            self._unparsed += len(data)  # the parser keeps what is not yet a whole header
            self._refused |= self._unparsed > MAX_HEAD_BYTES
        if self._refused:
            self._refuse(LARGE_HEAD)
        elif self._phase is Phase.BODY:
            self._wait_for_body()
        elif self._phase is Phase.HEAD and self._deadline is None:
            self._wait(self._limits.head_s)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._phase, self._head_bytes, self._unparsed = Phase.HEAD, 0, 0

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        if not self._refused:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        if not self._refused:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._counted.head_received(self)
        self._phase, self._body_bytes, self._body_began = Phase.BODY, 0, self.loop.time()
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._phase = Phase.BETWEEN
        self._stop_waiting()
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._counted.answered(self)

    def handle_websocket_upgrade(self) -> None:
        self._stop_waiting()
        self._counted.closed(self)
        super().handle_websocket_upgrade()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refused = True

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(seconds, self._late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _wait_for_body(self) -> None:
        """Wait for more, unless so far it has come too slowly."""
        seconds = self.loop.time() - self._body_began
        if seconds > self._limits.body_s and self._body_bytes < seconds * BODY_RATE:
            self._late()
        else:
            self._wait(self._limits.body_s)

    def _late(self) -> None:
        self._stop_waiting()
        if self._phase is Phase.BODY and self.flow.read_paused:  # it is this process that does not read
            self._wait(self._limits.body_s)
        elif (self._phase is Phase.BODY and self.cycle.response_started) or self._phase is Phase.NEW:
            self.transport.close()
        else:
            self._refuse(SLOW)

    def _refuse(self, problem: Problem) -> None:
        self._refused = True
        body = orjson.dumps(document(problem))
        status = HTTPStatus(problem.status)
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.close)


def protocol(connections: Connections) -> type[BoundedProtocol]:
    """What uvicorn makes a connection's protocol with."""

    class Bounded(BoundedProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(connections, *args, **kwargs)

    return Bounded
