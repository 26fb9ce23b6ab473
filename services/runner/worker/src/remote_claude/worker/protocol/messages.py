"""The messages of worker and runner, over a WebSocket. `docs/reference/worker-protocol.md` describes the protocol.

Text messages are JSON objects with a `type`. Binary messages are the bytes of the blob announced last, or, on a
connection that carries a stream, the bytes of that stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union

from msgspec import Meta, Struct

from remote_claude.worker.protocol import codec, frames
from remote_claude.worker.protocol.codec import Count, Malformed

VERSION = "2"
VERSIONS = frozenset({VERSION, "1"})
"""Those that a runner of this release speaks: the newest, and the one before it, which has no permission requests."""
MAX_MESSAGE = 768 * 1024
"""Bytes of one WebSocket message, either way."""
CHUNK = 256 * 1024
"""Bytes of a blob in one binary message, and the size at which a message of frames is full."""
BATCH_FRAMES = 200
WINDOW_FRAMES = 1_000
WINDOW_BYTES = 4 * 1024 * 1024
GRACE_S = 5.0
"""Between the polite end of an agent (SIGTERM) and the other one (SIGKILL)."""

MAX_DETAIL = 1_000
"""Characters of a result's detail."""
MAX_SUMMARY = 20_000
"""Characters of what an agent says it has done."""
MAX_CHECKS, MAX_COMMAND = 50, 500
"""Checks in a result, and characters of each one's command."""
WORKER_FAILED = "worker_failed"
"""Reason of a failure that is the worker's own: it would fail the same way another time."""

SOURCE_BUNDLE = "source.bundle"
RESULT_BUNDLE = "result.bundle"
CHANGES_PATCH = "changes.patch"
CHECKPOINT = "checkpoint.tar"
ARTIFACTS = "artifacts.tar"


Dimension = Annotated[int, Meta(ge=1, le=1000)]
"""Columns or rows of a terminal."""


class Close(IntEnum):
    """Why the runner closed the connection. After 4400 and above, dialling again is useless."""

    SILENT = 4000
    MALFORMED = 4400
    UNAUTHORIZED = 4401
    UNKNOWN_RUNNER = 4404
    SUPERSEDED = 4408
    """The session continues on a newer connection."""
    GAP = 4409
    OVER = 4410
    """The attempt has ended."""
    TOO_LARGE = 4413


class _Message(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"
):
    pass


class Hello(_Message, frozen=True, kw_only=True, tag="hello"):
    """The first message of a connection, from the worker: `token` once, `session_key` from then on."""

    token: str | None = None
    session_key: str | None = None
    acked: Count = 0
    """The last frame that the runner has acknowledged."""
    messages: Count = 0
    """How many messages have arrived."""
    prepared: bool = False
    """The assignment has arrived whole."""
    stream: str | None = None
    """This connection carries a stream to that destination, and nothing more of the protocol."""
    version: str = VERSION


class Assignment(_Message, frozen=True, kw_only=True, tag="task"):
    """The work of one attempt. `branch` is where it is committed, in the name of the author."""

    task: str
    attempt: int
    agent: str
    prompt: str
    lease_s: float
    session_key: str = ""
    repository: bool = False
    """The blob `source.bundle` follows."""
    checkpoint: bool = False
    """The blob `checkpoint.tar` follows: an earlier attempt saved it."""
    continues: bool = False
    """The checkpoint is of another task, which this one continues: the prompt comes after what it holds."""
    branch: str = ""
    author_name: str = "Remote Claude"
    author_email: str = "agent@remote-claude.invalid"
    patch_only: bool = False
    """The result is a patch; its bundle only carries the change."""
    max_result_bytes: Count = 512 * 1024 * 1024
    """Of a file of the result. What makes it larger is left out and named."""
    permission_mode: Literal["all", "edits", "ask"] = "all"
    """What the agent may do without asking. Since version 2."""
    agent_options: dict[str, Any] = {}
    """Of Claude Code: `allowed_tools`, `mcp_servers`, `system_prompt`, `append_system_prompt`. Since version 2."""
    model: str | None = None
    """The model of the agent; None is the agent's default."""
    model_api: str = "anthropic"
    """What the stream `model` speaks: `anthropic`, `openai`, `bedrock`, `vertex` or `gemini`. Since version 2."""
    model_region: str | None = None
    """Of Bedrock and Vertex. Since version 2."""
    model_project: str | None = None
    """Of Vertex. Since version 2."""
    saves: bool = False
    """The runner keeps checkpoints."""
    streams: tuple[str, ...] = ()
    """The destinations that the runner carries streams to: `model`, `egress`."""
    environment: dict[str, str] = {}
    """For the agent: secrets, most of them as placeholders."""
    authority: str | None = None
    """A certificate (PEM) that programs have to trust: the egress proxy answers with it for hosts that secrets go to."""
    traceparent: str | None = None
    """The span of this worker, for what it starts: W3C Trace Context."""


class Resume(_Message, frozen=True, kw_only=True, tag="resume"):
    """The session continues after this frame."""

    acked: Count


class StreamOpened(_Message, frozen=True, kw_only=True, tag="opened"):
    """The stream is connected: what follows is its bytes."""


class Frames(_Message, frozen=True, kw_only=True, tag="frames"):
    """Frames from number `seq` on."""

    seq: Count
    frames: list[frames.Frame]


class Ack(_Message, frozen=True, kw_only=True, tag="ack"):
    """Every frame up to `seq` is stored; with `result`, the result is too."""

    seq: Count
    result: bool = False


class LeaseTime(_Message, frozen=True, kw_only=True, tag="lease"):
    """The worker may continue for so many seconds from now."""

    seconds: float


class Alive(_Message, frozen=True, kw_only=True, tag="alive"):
    """The answer to each lease."""


class Stop(_Message, frozen=True, kw_only=True, tag="stop"):
    """End the agent and send the result."""

    reason: str


class TaskMessage(_Message, frozen=True, kw_only=True, tag="message"):
    """What a person sends to the running task. Numbered from 1 over all attempts of the task."""

    number: Count
    text: str
    interrupt: bool = False
    """The agent's current turn is ended first."""


class PermissionAnswer(_Message, frozen=True, kw_only=True, tag="permission"):
    """A person's answer to a `permission_request` of the agent. `text` says why it is denied. Since version 2."""

    request: str
    decision: Literal["allow", "allow_always", "deny"]
    text: str = ""


class Open(_Message, frozen=True, kw_only=True, tag="open"):
    """A person asks for a terminal (`port` is 0), or for a connection to a port of the sandbox's loopback.

    The worker dials, with `stream` as the name of the stream in its hello. After `opened`, binary messages are bytes. In a
    terminal, `size` may come as well, and `exited` is the last message.
    """

    stream: str
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    term: str = "xterm-256color"
    columns: Dimension = 80
    rows: Dimension = 24


class TerminalSize(_Message, frozen=True, kw_only=True, tag="size"):
    """Of the terminal, from here on."""

    columns: Dimension
    rows: Dimension


class Exited(_Message, frozen=True, kw_only=True, tag="exited"):
    """The shell of the terminal has ended."""

    code: int


class Blob(_Message, frozen=True, kw_only=True, tag="blob"):
    """The header of a file, whose bytes follow."""

    name: str
    size: Count
    sha256: str


class CheckpointSent(_Message, frozen=True, kw_only=True, tag="checkpoint"):
    """The blob `checkpoint.tar` is complete: it holds the state after `turn` turns and `messages` messages."""

    turn: Count
    messages: Count


class Saved(_Message, frozen=True, kw_only=True, tag="saved"):
    """The checkpoint of this turn is stored."""

    turn: Count


class CheckRun(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check of the repository that has run on the result."""

    command: str
    exit_code: Count


class Finished(_Message, frozen=True, kw_only=True, tag="result"):
    """The result. `reason` is a stable code, `summary` explains it. `detail` is for the task's user: why it failed, or
    what of the work did not come back. `messages` is the number of the last message that the agent has taken, `written` what
    the agent says it has done.

    Reasons of a failure: `agent_exited` (see `exit_code`), `agent_failed` (it said so itself), `agent_unavailable`,
    `stopped`, `worker_failed` (a fault of the worker's own), and those of `worker.repository.RepositoryFailed`.
    """

    outcome: Literal["succeeded", "failed"]
    summary: str
    exit_code: Count | None = None
    reason: str | None = None
    base: str | None = None
    sent: str | None = None
    commit: str | None = None
    detail: str | None = None
    messages: Count | None = None
    written: str = ""
    checks: list[CheckRun] = []


ToRunner: TypeAlias = Hello | Frames | Alive | Blob | CheckpointSent | Finished | Exited
ToWorker: TypeAlias = (
    Assignment
    | Resume
    | StreamOpened
    | Ack
    | LeaseTime
    | Stop
    | TaskMessage
    | PermissionAnswer
    | Blob
    | Saved
    | Open
    | TerminalSize
)
M = TypeVar("M", bound=_Message)


def encode(message: ToRunner | ToWorker) -> str:
    """The message as the text of a WebSocket message."""
    return codec.encode(message).decode()


def encode_frames(first: int, encoded: list[bytes]) -> bytes:
    """A `frames` message out of frames that are JSON already."""
    return b'{"type":"frames","seq":%d,"frames":[%s]}' % (first, b",".join(encoded))


def decode(data: str | bytes, *expected: type[M]) -> M:
    """One of the expected messages. Raises `Malformed`."""
    if isinstance(data, bytes):
        raise Malformed("bytes that no blob announced")
    message: M = codec.decode(data, Union[expected])  # type: ignore[arg-type]  # noqa: UP007  made at run time
    return message


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
