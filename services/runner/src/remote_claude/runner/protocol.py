"""What a worker and its runner say to each other: a WebSocket over a unix socket. Standard library only.

Text messages are JSON objects with a `type`; binary messages are the bytes of the blob announced last. Between
them the lease goes on: `lease`, `alive` and `stop` may come.

    worker                                runner
    hello {token, version}          ->
                                    <-    task {task, attempt, session_key, prompt, agent, ...}
                                    <-    blob {name: "source.bundle", size, sha256}, bytes      if task.repository
    frames {seq, frames}            ->                                     seq: number of the first, from 1
                                    <-    ack {seq}                        stored up to here
                                    <-    lease {seconds}                  go on for so long; lease_s from the task on
    alive {}                        ->                                     the answer to each lease
                                    <-    stop {reason}                    end the agent, say what came of it
    blob {name: "result.bundle" | "changes.patch", ...}, bytes  ->         after the last frame
    result {outcome, reason, ...}   ->
                                    <-    ack {seq, result: true}, close

The token is good for one hello: it is exchanged for the session key, which is bound to the task and the attempt.
After a dropped connection the worker dials again and says `hello {session_key, acked, prepared}`; the runner
answers `resume {acked}`, or the task once more if it did not arrive whole, and the worker goes on with frame
`acked + 1`. Frames seen before are dropped, a gap is refused. At most `WINDOW_FRAMES` frames or `WINDOW_BYTES`
bytes are on their way; then the agent waits.

The runner believes nothing. It closes with one of the `Close` codes, and the reason in words; those of 4400 and
above mean that dialling again is useless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from remote_claude.runner import wire
from remote_claude.runner.wire import Malformed

VERSION = "1"
MAX_MESSAGE = 768 * 1024
"""Bytes of one WebSocket message, either way."""
CHUNK = 256 * 1024
"""Bytes of a blob in one binary message, and the size at which a message of frames is full."""
BATCH_FRAMES = 200
WINDOW_FRAMES = 1_000
WINDOW_BYTES = 4 * 1024 * 1024
GRACE_S = 5.0
"""Between the polite end of an agent (SIGTERM) and the other one (SIGKILL)."""

SOURCE_BUNDLE = "source.bundle"
RESULT_BUNDLE = "result.bundle"
CHANGES_PATCH = "changes.patch"


class Close(IntEnum):
    """Why the runner hung up."""

    MALFORMED = 4400
    UNAUTHORIZED = 4401
    SUPERSEDED = 4408
    """The session went on over a newer connection."""
    GAP = 4409
    OVER = 4410
    """The attempt has ended."""
    TOO_LARGE = 4413
    SILENT = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    token: str | None = None
    session_key: str | None = None
    acked: int = 0
    prepared: bool = False
    """The task has arrived, its repository with it."""
    version: str = VERSION
    type: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The work of one attempt. `branch` is where it is committed, in the name of the author."""

    task: str
    attempt: int
    agent: str
    prompt: str
    lease_s: float
    repository: bool = False
    branch: str = ""
    author_name: str = "Remote Claude"
    author_email: str = "agent@remote-claude.invalid"
    model: str | None = None
    """What the agent's model is to be; its own default without."""
    traceparent: str | None = None
    """The span of this worker, for what it starts: W3C Trace Context."""
    session_key: str = ""
    type: Literal["task"] = "task"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    acked: int
    type: Literal["resume"] = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    seq: int
    frames: list[Any]
    type: Literal["frames"] = "frames"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    seq: int
    result: bool = False
    type: Literal["ack"] = "ack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    seconds: float
    type: Literal["lease"] = "lease"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    type: Literal["alive"] = "alive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    reason: str
    type: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    name: str
    size: int
    sha256: str
    type: Literal["blob"] = "blob"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it. `reason` is a stable code, `summary` the same for people.

    Reasons of a failure: `agent_exited` (see `exit_code`), `agent_failed` (it said so itself), `agent_unavailable`,
    `stopped`, and those of `worker.repository.RepositoryFailed`.
    """

    outcome: Literal["succeeded", "failed"]
    summary: str
    exit_code: int | None = None
    reason: str | None = None
    base: str | None = None
    sent: str | None = None
    commit: str | None = None
    type: Literal["result"] = "result"


Message: TypeAlias = Hello | Task | Resume | Frames | Ack | Lease | Alive | Stop | Blob | Result
M = TypeVar("M", bound=Message)

_TYPES: dict[str, type[Message]] = {
    "hello": Hello,
    "task": Task,
    "resume": Resume,
    "frames": Frames,
    "ack": Ack,
    "lease": Lease,
    "alive": Alive,
    "stop": Stop,
    "blob": Blob,
    "result": Result,
}


def encode(message: Message) -> str:
    """The message as the text of a WebSocket message."""
    return wire.dump(message).decode()


def encode_frames(first: int, frames: list[bytes]) -> bytes:
    """A `frames` message out of frames that are JSON already."""
    return b'{"type":"frames","seq":%d,"frames":[%s]}' % (first, b",".join(frames))


def decode(value: object, *expected: type[M]) -> M:
    """One of the expected messages out of parsed JSON. Raises `Malformed`."""
    name = value.get("type") if isinstance(value, dict) else None
    kind = _TYPES.get(name) if isinstance(name, str) else None
    for one in expected:
        if one is kind:
            return wire.build(one, value)
    names = " or ".join(n for n, k in _TYPES.items() if k in expected)
    raise Malformed(f"{names} is expected here, not {str(name)[:40]!r}")


def describe(name: str, path: Path) -> Blob:
    """The header of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Blob(name=name, size=path.stat().st_size, sha256=digest)


async def send_blob(send: Callable[[str | bytes], Awaitable[None]], header: Blob, path: Path) -> None:
    """Send a file: its header, then its bytes."""
    await send(encode(header))
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            await send(chunk)


async def receive_blob(receive: Callable[[], Awaitable[bytes]], header: Blob, path: Path) -> None:
    """Write the bytes that follow a header to a file, which is there only when it is whole. Raises `Malformed`."""
    part = path.with_name(path.name + ".part")
    digest, left = hashlib.sha256(), header.size
    try:
        with part.open("wb") as file:
            while left:
                chunk = await receive()
                if not 0 < len(chunk) <= left:
                    raise Malformed(f"{header.name}: {left} more bytes are expected")
                left -= len(chunk)
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != header.sha256:
            raise Malformed(f"{header.name}: the bytes are not those announced")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
