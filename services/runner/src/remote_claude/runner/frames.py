"""Frames: what an agent does, as a stream of typed JSON objects. Standard library only: the worker imports it.

`{"kind": ..., "at": "2026-01-31T12:00:00.000000Z", ...}`; a field that is null is left out.

| kind | fields |
|---|---|
| `status` | `phase`: `preparing`, `running`, `committing` |
| `output` | `stream`: `stdout`, `stderr`; `text`: one or more lines, control characters and all |
| `text` | `text`: what the agent says |
| `thinking` | `text` |
| `tool_call` | `id`, `name`, `input`: an object; `truncated` when long strings in it were cut |
| `tool_result` | `id`, `content`, `is_error` |
| `usage` | `tokens`: model -> kind -> count so far, `cost_nano_usd`; `source`: `agent` (its own estimate) or `proxy` (measured) |
| `result` | `outcome`: `succeeded`, `failed`; `reason`, `exit_code`, `text` |

A frame holds at most 64 KiB of text (UTF-8). What is longer arrives as several frames, to be read one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from remote_claude.runner.wire import Malformed, build, dump

MAX_TEXT = 64 * 1024
"""UTF-8 bytes of text in one frame."""
CUT = "[... cut]"

Outcome = Literal["succeeded", "failed"]


def now() -> str:
    """RFC 3339, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    phase: Literal["preparing", "running", "committing"]
    at: str = field(default_factory=now)
    kind: Literal["status"] = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    stream: Literal["stdout", "stderr"]
    text: str
    at: str = field(default_factory=now)
    kind: Literal["output"] = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    text: str
    at: str = field(default_factory=now)
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    text: str
    at: str = field(default_factory=now)
    kind: Literal["thinking"] = "thinking"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    id: str
    name: str
    input: dict[str, Any]
    truncated: bool | None = None
    at: str = field(default_factory=now)
    kind: Literal["tool_call"] = "tool_call"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    id: str
    content: str
    is_error: bool
    at: str = field(default_factory=now)
    kind: Literal["tool_result"] = "tool_result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    tokens: dict[str, dict[str, int]]
    cost_nano_usd: int
    source: Literal["agent", "proxy"] = "agent"
    at: str = field(default_factory=now)
    kind: Literal["usage"] = "usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    outcome: Outcome
    text: str
    reason: str | None = None
    exit_code: int | None = None
    at: str = field(default_factory=now)
    kind: Literal["result"] = "result"


Frame: TypeAlias = Status | Output | Text | Thinking | ToolCall | ToolResult | Usage | Result

_KINDS: dict[str, type[Frame]] = {
    "status": Status,
    "output": Output,
    "text": Text,
    "thinking": Thinking,
    "tool_call": ToolCall,
    "tool_result": ToolResult,
    "usage": Usage,
    "result": Result,
}


def encode(frame: Frame) -> bytes:
    """The frame as JSON."""
    return dump(frame)


def decode(value: object) -> Frame:
    """A frame out of parsed JSON that nobody has vouched for. Raises `Malformed`."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Malformed("a frame is an object of a known kind")
    frame = build(_KINDS[kind], value)
    if len(frame.at) > 40:
        raise Malformed(f"{kind}.at: a time is needed")
    if _size(frame) > MAX_TEXT:
        raise Malformed(f"{kind}: more than {MAX_TEXT} bytes of text in one frame")
    return frame


def split(frame: Frame) -> Iterator[Frame]:
    """The frame in pieces that each hold at most `MAX_TEXT`."""
    match frame:
        case Output() | Text() | Thinking():
            for piece in pieces(frame.text):
                yield replace(frame, text=piece)
        case ToolResult():
            for piece in pieces(frame.content):
                yield replace(frame, content=piece)
        case ToolCall() if _size(frame) > MAX_TEXT:
            yield _shortened(frame)
        case Result():
            yield replace(frame, text=next(pieces(frame.text)))
        case _:
            yield frame


def size(text: str) -> int:
    """UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _size(frame: Frame) -> int:
    match frame:
        case Output() | Text() | Thinking() | Result():
            return size(frame.text)
        case ToolResult():
            return size(frame.content)
        case ToolCall() | Usage():
            return len(dump(frame)) - 256  # the envelope
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


def _shortened(frame: ToolCall) -> ToolCall:
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
