"""The clock of the progress line starts when the task started, not when the command or its connection did."""

import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from remote_claude.cli.client import CliClient
from remote_claude.cli.commands.tasks import follow
from remote_claude.cli.config import Target

TASK = "task_00000000000000000000000001"
STATE = {"type": "state", "task": TASK, "state": "running", "reason": None, "attempt": 1, "position": 1}


@contextmanager
def running_task(times: dict[str, str | None]) -> Iterator[tuple[str, list[str]]]:
    """A server with one running task, whose live stream breaks once before it ends: its address, and what was subscribed."""
    subscriptions: list[str] = []

    def answer(_: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        body = json.dumps({"id": TASK, "state": "running", "waiting": None, **times}).encode()
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body))})
        return Response(HTTPStatus.OK.value, "OK", headers, body)

    def stream(socket: ServerConnection) -> None:
        subscriptions.append(str(socket.recv()))
        socket.send(json.dumps(STATE))
        if len(subscriptions) > 1:
            socket.send(json.dumps({"type": "end", "task": TASK, "state": "succeeded"}))

    with serve(stream, "127.0.0.1", 0, process_request=answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}", subscriptions
        finally:
            server.shutdown()
            thread.join()


class Terminal(io.StringIO):
    """Keeps what a terminal would have shown."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("which", ["started_at", "submitted_at"])
def test_after_a_reconnect_the_clock_shows_how_long_the_task_has_run(which: str) -> None:
    terminal = Terminal()
    now = datetime.now(UTC)
    earlier = (now - timedelta(hours=1, seconds=5)).isoformat()
    times: dict[str, str | None] = {
        "submitted_at": (now - timedelta(days=1)).isoformat(),
        "started_at": earlier,
    }
    if which == "submitted_at":
        times = {"submitted_at": earlier, "started_at": None}
    with running_task(times) as (url, subscriptions), redirect_stdout(terminal):
        follow(CliClient(Target(url, "rck_made_up")), TASK)
    assert len(subscriptions) == 2, "the stream was opened a second time"
    minutes = re.findall(r"running · (\d+):\d\d", terminal.getvalue())
    assert len(minutes) == 2
    assert set(minutes) <= {"60", "61", "62"}, minutes
