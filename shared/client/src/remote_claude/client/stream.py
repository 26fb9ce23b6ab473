"""The live stream: its messages, and what both clients make of them. docs/reference/stream.md is its contract."""

from __future__ import annotations

import json
from typing import Any, Literal, NotRequired, TypedDict

from remote_claude.client.errors import ApiError, refusal
from remote_claude.client.models import OutputFrame

PATH = "/v1/stream"
SILENCE_S = 30.0
"""A stream without a heartbeat for so long is opened again."""
PAUSE_S = 0.2
PASSING = ("slow_consumer", "rate_limited")
"""Errors that end only the connection: it is opened again."""
RETRIED = (502, 503, 504)
"""Statuses of a handshake after which it is tried again."""


class StateMessage(TypedDict):
    """The state as it was at the subscription, then every change."""

    type: Literal["state"]
    task: str
    state: str
    reason: str | None
    attempt: int
    position: int


class OutputMessage(TypedDict):
    """What the agent did: frames `first`, `first + 1`... of an attempt; `cursor` is that of the last."""

    type: Literal["output"]
    task: str
    attempt: int
    first: int
    cursor: str
    frames: list[OutputFrame]


class EndMessage(TypedDict):
    """The task is over, and all of its output has come."""

    type: Literal["end"]
    task: str
    state: str
    cursor: NotRequired[str | None]


class HeartbeatMessage(TypedDict):
    """How far the server has read the log."""

    type: Literal["heartbeat"]
    position: int


Message = StateMessage | OutputMessage | EndMessage | HeartbeatMessage


def subscription(task: str, after: str | None, min_position: int) -> str:
    """The message that asks for a task, from a cursor on."""
    return json.dumps({"type": "subscribe", "task": task, "after": after, "min_position": min_position})


def received(text: str | bytes) -> Any:
    """A message. Raises `ApiError` for an error that opening the stream again does not help."""
    message = json.loads(text)
    if message["type"] == "error" and message.get("code") not in PASSING:
        raise refusal(message.get("status", 400), message)
    return message


def refused(status: int) -> ApiError:
    """The error of a handshake."""
    return refusal(status, {"detail": f"the server refused the live stream ({status})"})
