"""Frames: what an agent does, as a stream of typed JSON objects.

`{"kind": ..., "at": "2026-01-31T12:00:00.000000Z", ...}`; a field that is null is left out.

| kind | fields |
|---|---|
| `status` | `phase`: `preparing`, `restoring`, `setting_up`, `running`, `checking`, `committing` |
| `output` | `stream`: `stdout`, `stderr`; `text`: one or more lines, control characters and all |
| `text` | `text`: what the agent says |
| `thinking` | `text` |
| `tool_call` | `id`, `name`, `input`: an object; `truncated` when long strings in it were cut |
| `tool_result` | `id`, `content`, `is_error` |
| `usage` | `tokens`: model -> kind -> count so far, `cost_nano_usd`; `source`: `agent` (its own estimate) or `proxy` (measured) |
| `permission_request` | `id`, `name` of the tool, `input`: an object; `truncated` as in `tool_call`. The agent waits for the answer |
| `permission_answer` | `id` of the request; `decision`: `allow`, `allow_always`, `deny`, or `withdrawn` by the agent |
| `user_message` | `text`: what a person has sent to the running task |
| `result` | `outcome`: `succeeded`, `failed`; `reason`, `exit_code`, `text` |

A frame holds at most 64 KiB of text (UTF-8). What is longer arrives as several frames, to be read one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from remote_claude.worker.protocol import codec
from remote_claude.worker.protocol.codec import Count, Malformed

MAX_TEXT = 64 * 1024
"""UTF-8 bytes of text in one frame."""
CUT = "[... cut]"

Outcome = Literal["succeeded", "failed"]
Decision = Literal["allow", "allow_always", "deny", "withdrawn"]


def now() -> str:
    """RFC 3339, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class _Frame(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    at: str = field(default_factory=now)


class Status(_Frame, frozen=True, kw_only=True, tag="status"):
    phase: Literal["preparing", "restoring", "setting_up", "running", "checking", "committing"]


class Output(_Frame, frozen=True, kw_only=True, tag="output"):
    stream: Literal["stdout", "stderr"]
    text: str


class Text(_Frame, frozen=True, kw_only=True, tag="text"):
    text: str


class Thinking(_Frame, frozen=True, kw_only=True, tag="thinking"):
    text: str


class ToolCall(_Frame, frozen=True, kw_only=True, tag="tool_call"):
    id: str
    name: str
    input: dict[str, Any]
    truncated: bool | None = None


class ToolResult(_Frame, frozen=True, kw_only=True, tag="tool_result"):
    id: str
    content: str
    is_error: bool


class PermissionRequest(_Frame, frozen=True, kw_only=True, tag="permission_request"):
    id: str
    name: str
    input: dict[str, Any]
    truncated: bool | None = None


class PermissionSettled(_Frame, frozen=True, kw_only=True, tag="permission_answer"):
    id: str
    decision: Decision


class Usage(_Frame, frozen=True, kw_only=True, tag="usage"):
    tokens: dict[str, dict[str, Count]]
    cost_nano_usd: Count
    source: Literal["agent", "proxy"]


class ResultFrame(_Frame, frozen=True, kw_only=True, tag="result"):
    outcome: Outcome
    text: str
    reason: str | None = None
    exit_code: Count | None = None


class UserMessage(_Frame, frozen=True, kw_only=True, tag="user_message"):
    text: str


Frame: TypeAlias = (
    Status
    | Output
    | Text
    | Thinking
    | ToolCall
    | ToolResult
    | PermissionRequest
    | PermissionSettled
    | Usage
    | ResultFrame
    | UserMessage
)


def encode(frame: Frame) -> bytes:
    """The frame as JSON."""
    return codec.encode(frame)


def plain(frame: Frame) -> dict[str, Any]:
    """The frame as the JSON object that is stored."""
    fields: dict[str, Any] = to_builtins(frame)
    return fields


def check(frame: Frame) -> None:
    """Refuse what no honest worker sends. Raises `Malformed`."""
    kind = type(frame).__name__
    if len(frame.at) > 40:
        raise Malformed(f"{kind}.at: a time is needed")
    if _size(frame) > MAX_TEXT:
        raise Malformed(f"{kind}: more than {MAX_TEXT} bytes of text in one frame")
    if isinstance(frame, ToolCall | PermissionRequest):
        codec.check_depth(frame.input)


def split(frame: Frame) -> Iterator[Frame]:
    """The frame in pieces that each hold at most `MAX_TEXT`."""
    match frame:
        case Output() | Text() | Thinking() | UserMessage():
            for piece in pieces(frame.text):
                yield replace(frame, text=piece)
        case ToolResult():
            for piece in pieces(frame.content):
                yield replace(frame, content=piece)
        case ToolCall() | PermissionRequest() if _size(frame) > MAX_TEXT:
            yield _shortened(frame)
        case ResultFrame():
            yield replace(frame, text=next(pieces(frame.text)))
        case _:
            yield frame


def size(text: str) -> int:
    """UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _size(frame: Frame) -> int:
    match frame:
        case Output() | Text() | Thinking() | ResultFrame() | UserMessage():
            return size(frame.text)
        case ToolResult():
            return size(frame.content)
        case ToolCall() | Usage() | PermissionRequest() | PermissionSettled():
            return len(encode(frame)) - 256  # the envelope
        case Status():
            return 0


def pieces(text: str) -> Iterator[str]:
    if size(text) <= MAX_TEXT:
        yield text
        return
    data = text.encode(errors="replace")
    start = 0
    while start < len(data):
        end = min(start + MAX_TEXT, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # never through a character
            end -= 1
        yield data[start:end].decode()
        start = end


def _shortened(frame: ToolCall | PermissionRequest) -> ToolCall | PermissionRequest:
    """The call with its strings cut until it fits; one that has no long strings loses its input."""
    keep = MAX_TEXT // 2
    while keep >= 64:
        shorter = replace(frame, input=_cut(frame.input, keep), truncated=True)
        if _size(shorter) <= MAX_TEXT:
            return shorter
        keep //= 2
    return replace(frame, input={}, truncated=True)


def _cut(value: Any, keep: int) -> Any:
    match value:
        case str() if len(value) > keep:
            return value[:keep] + CUT
        case list():
            return [_cut(item, keep) for item in value]
        case dict():
            return {key: _cut(item, keep) for key, item in value.items()}
        case _:
            return value
