"""An event on its way into the log, and an event as the log gives it back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha1
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote
from uuid import UUID, uuid4

from remote_claude.eventsourcing.message_frames import parse_headers

CAUSATION_NAMESPACE = UUID("6f1d0f5e-4d0a-5d57-9f43-0d6a5b0f2f6e")


class Codec(Protocol):
    """Turns events into bytes and back. The published events' registry is one."""

    def encode(self, event: Any) -> tuple[str, int, bytes]:
        """Return (wire name, version, canonical JSON)."""

    def decode(self, type: str, version: int, data: bytes) -> Any:
        """Return the event in its newest version.

        Raises an exception with the `code` `unknown_event`, `unknown_event_version` or `undecodable_event`.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that has been decided and not yet recorded.

    `event_id` is a UUID, made by `caused_id` where the event has a cause.
    `cause` is the position of the highest event that this one's aggregate has handled.
    `subject` names what it is about inside the aggregate (a task in an organisation's queue).
    `actor` and `origin` say who caused it, and from where, as `actors` has them.
    """

    event: Any
    event_id: str
    occurred_at: str
    subject: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    cause: int | None = None
    traceparent: str | None = None
    actor: str | None = None
    origin: str | None = None


class Context(NamedTuple):
    """What an event has to do with others, as its envelope says."""

    correlation_id: str | None = None
    causation_id: str | None = None
    cause: int | None = None
    traceparent: str | None = None
    actor: str | None = None
    origin: str | None = None


def attributes(block: bytes) -> dict[str, str]:
    """The envelope in a header block, percent-decoded."""
    headers = parse_headers(block)
    return {name: unquote(value) for name, value in headers.items()} if b"%" in block else headers


def number(text: str, *, digits: int = 20) -> int | None:
    """A plain decimal number of so many digits at most; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


class RecordedEvent:
    """An event at its place in the log. Its payload is decoded at the first look at `event`, its `context` likewise.

    `position` is the log's sequence number; `stream` the exact subject of its aggregate;
    `occurred_at` RFC 3339 UTC with six decimals; `data` canonical JSON as stored.
    """

    __slots__ = (
        "_block", "_codec", "_context", "_event", "_headers", "data", "event_id", "occurred_at", "position", "stream",
        "subject", "type", "version",
    )  # fmt: skip

    def __init__(
        self,
        position: int,
        stream: str,
        event_id: str,
        type: str,
        version: int,
        occurred_at: str,
        data: bytes,
        codec: Codec,
        subject: str | None = None,
        block: bytes = b"",
        context: Context | None = None,
    ) -> None:
        self.position = position
        self.stream = stream
        self.event_id = event_id
        self.type = type
        self.version = version
        self.occurred_at = occurred_at
        self.data = data
        self.subject = subject
        self._block = block
        self._headers: bytes | None = None
        self._context = context
        self._codec = codec
        self._event: Any = None

    @property
    def context(self) -> Context:
        """Correlation, causation, trace and actor."""
        if self._context is None:
            get = attributes(self._block or b"\r\n%b\r\n" % self.headers).get
            self._context = Context(
                correlation_id=get("ce-correlationid"),
                causation_id=get("ce-causationid"),
                cause=number(get("ce-cause", "")),
                traceparent=get("traceparent"),
                actor=get("ce-actor"),
                origin=get("ce-origin"),
            )
        return self._context

    @property
    def correlation_id(self) -> str | None:
        return self.context.correlation_id

    @property
    def causation_id(self) -> str | None:
        return self.context.causation_id

    @property
    def cause(self) -> int | None:
        """The position of the highest event that this one's aggregate had handled."""
        return self.context.cause

    @property
    def traceparent(self) -> str | None:
        return self.context.traceparent

    @property
    def headers(self) -> bytes:
        """The envelope as stored: lines that each end in CRLF, in their order, without the broker's own `Nats-` ones."""
        if self._headers is None:
            lines = self._block.split(b"\r\n")[1:-2]
            self._headers = b"".join([line + b"\r\n" for line in lines if line[:5].lower() != b"nats-"])
            self._block = b""
        return self._headers

    @property
    def event(self) -> Any:
        """The decoded event, in its newest version."""
        if self._event is None:
            self._event = self._codec.decode(self.type, self.version, self.data)
        return self._event

    @property
    def organisation(self) -> str | None:
        """The organisation that the stream belongs to, or None."""
        org = self.stream.split(".")[2]
        return None if org == "_" else org

    @property
    def aggregate_id(self) -> str:
        """The id of the aggregate that the stream is of. It is known of an event that can't be decoded too."""
        return self.stream.rpartition(".")[2]

    def __repr__(self) -> str:
        return f"RecordedEvent({self.position} {self.type} v{self.version} {self.stream})"


_token = re.compile(r"[a-z0-9_-]+").fullmatch


def stream_id(producer: str, organisation: str | None, aggregate: str, id: str) -> str:
    """The subject of one aggregate of one producer: `ev.<producer>.<org>.<aggregate>.<id>`."""
    tokens = (producer, organisation or "_", aggregate, id)
    for token in tokens:
        if not _token(token):
            raise ValueError(f"not a subject token: {token!r}")
    return ".".join(("ev", *tokens))


NewEventId = Callable[[], str]


def new_event_id() -> str:
    """The id of an event that a person caused."""
    return str(uuid4())


def caused_id(causing_event_id: str, handler: str, n: int = 0) -> str:
    """The id of the n-th event that `handler` appends because of another: the same at every try."""
    name = f"{causing_event_id}/{handler}/{n}".encode()
    digest = bytearray(sha1(CAUSATION_NAMESPACE.bytes + name, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50  # what uuid5 does, in a fifth of its time
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def timestamp(moment: datetime) -> str:
    """RFC 3339, UTC, six decimals, `Z`. Refuses a time without its zone."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def parse_timestamp(text: str) -> datetime:
    """The inverse of `timestamp`."""
    return datetime.fromisoformat(text)


Clock = Callable[[], datetime]
