"""A stack waits for services that get on, however long, and says how far they are; not for those that say nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count

import pytest

from remote_claude.runtime.embedded.home import free_port
from remote_claude.runtime.embedded.stack import ready

TO_READ = 20


@pytest.fixture
def reading() -> Iterator[int]:
    """The port of a server that has read a little more each time it is asked, and is ready when it has read all."""
    asked = count(1)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            read = next(asked)
            reasons = {"scheduler": f"has read {read} of {TO_READ}"} if read < TO_READ else {}
            self.send_response(503 if reasons else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"reasons": reasons}).encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


async def test_services_that_read_a_long_log_are_waited_for(
    reading: int, capsys: pytest.CaptureFixture[str]
) -> None:
    await ready("127.0.0.1", reading, silent_s=0.2, print_every_s=0.0)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"not ready yet: has read 1 of {TO_READ}"
    assert said[-1] == f"not ready yet: has read {TO_READ - 1} of {TO_READ}"


async def test_it_is_not_said_over_and_over(reading: int, capsys: pytest.CaptureFixture[str]) -> None:
    await ready("127.0.0.1", reading)
    assert capsys.readouterr().out == ""


async def test_services_that_do_not_answer_are_given_up() -> None:
    with pytest.raises(TimeoutError, match=r"did not answer for 0\.2 s"):
        await ready("127.0.0.1", free_port(), silent_s=0.2)
