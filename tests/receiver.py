"""Somebody else's server that hears of tasks: real HTTP on loopback, answered as the test wants."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Heard:
    """One request."""

    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def body(self) -> Any:
        return json.loads(self.content)


@dataclass
class Receiver:
    """What it has heard. `answer` gives the status of a request's answer; -1 is none at all, for as long as it lives."""

    port: int
    heard: list[Heard] = field(default_factory=list)
    answer: Callable[[Heard], int] = lambda _: 204
    location: str | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver for as long as this lasts, on a free port or this one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            content = self.rfile.read(length)
            if len(content) < length:  # its sender has died
                return
            heard = Heard(self.path, {k.lower(): v for k, v in self.headers.items()}, content)
            receiver.heard.append(heard)
            status = receiver.answer(heard)
            if status < 0:
                receiver.ended.wait()
                return
            self.send_response(status)
            if receiver.location is not None:
                self.send_header("location", receiver.location)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815  # the name is the library's

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


async def heard(receiver: Receiver, count: int, timeout: float = 60) -> list[Heard]:
    """Wait until it has heard so often."""
    async with asyncio.timeout(timeout):
        while len(receiver.heard) < count:  # noqa: ASYNC110  # heard by another thread
            await asyncio.sleep(0.01)
    return receiver.heard
