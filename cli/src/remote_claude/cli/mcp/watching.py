"""Waits for what a task does, over the live stream."""

from __future__ import annotations

import json
import time
from contextlib import suppress

from remote_claude.cli.client import CliClient
from remote_claude.client import stream

GATHER_S = 0.5
"""After the first output, what follows so soon comes with it: a model is called for each answer."""


def next_output(
    client: CliClient, task: str, after: str | None, wait_s: float
) -> tuple[str, str | None, bool]:
    """The next text after a cursor, the cursor to go on from, and whether the task has ended and nothing follows.

    No text when the time is over first, or the connection is lost.
    """
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    pieces: list[str] = []
    deadline = time.monotonic() + wait_s
    with (
        suppress(OSError, EOFError, WebSocketException),  # the time is over, or the connection lost
        connect(client.websocket_url(stream.PATH), **client.websocket_options()) as socket,
    ):
        socket.send(stream.subscription(task, after, 0))
        while (left := deadline - time.monotonic()) > 0:
            message = json.loads(socket.recv(timeout=left))
            after = message.get("cursor") or after
            match message["type"]:
                case "output":
                    found = [str(frame["text"]) for frame in message["frames"] if frame.get("text")]
                    if found and not pieces:
                        deadline = min(deadline, time.monotonic() + GATHER_S)
                    pieces += found
                case "end":
                    return "".join(pieces), after, True
                case "error":
                    break
    return "".join(pieces), after, False
