"""Answers of model services as they pass: cut into events, whatever pieces they come in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from base64 import b64decode
from binascii import crc32
from collections.abc import Iterator
from typing import Any

from remote_claude.contracts.runner import ModelUse
from remote_claude.runner.model_proxy.model_usage import PaymentTerms, object_of, parsed, text_of

MAX_EVENT = 1024 * 1024
"""Bytes of one event of a stream that is read; longer ones pass by unread."""
MAX_ANSWER = 32 * 1024 * 1024
SERVER_SENT = "text/event-stream"
AWS_EVENTS = "application/vnd.amazon.eventstream"


class AnswerUsage(ABC):
    """What one answer says of what it used."""

    def __init__(self) -> None:
        self.final = False
        """The usage that has been read is the final one."""
        self.ended = False
        """The answer is whole, also where it does not say what it used."""
        self.error: dict[str, Any] | None = None
        """What a stream said instead of its end: an object with `type` and `message`."""

    @abstractmethod
    def event(self, event: dict[str, Any]) -> None:
        """The next event of a stream."""

    @abstractmethod
    def whole(self, body: dict[str, Any]) -> None:
        """An answer that is not streamed."""

    @abstractmethod
    def uses(self) -> list[ModelUse] | None:
        """What was used, as far as it has been read; None when nothing has been said of it."""


class NamedModelUsage(AnswerUsage):
    """The same where the request's path names the model, and the answer need not."""

    def __init__(self, terms: PaymentTerms, model: str) -> None:
        super().__init__()
        self._terms, self._model = terms, model
        self._usage: dict[str, Any] = {}
        """As the service has said it."""
        self._output_bytes = 0


class AnswerReader:
    """Reads one answer, streamed or not, in whatever pieces it comes."""

    def __init__(self, content_type: str, usage: AnswerUsage) -> None:
        kind = content_type.partition(";")[0].strip()
        self.streamed = kind in (SERVER_SENT, AWS_EVENTS)
        self._usage = usage
        self._events = _AwsEvents() if kind == AWS_EVENTS else _ServerSentEvents()
        self._body = bytearray()

    @property
    def final(self) -> bool:
        """The usage that has been read is the final one."""
        return self._usage.final

    @property
    def ended(self) -> bool:
        """A stream has come to its end, or to its error."""
        return self._usage.final or self._usage.ended or self._usage.error is not None

    @property
    def error(self) -> dict[str, Any] | None:
        """What a stream said instead of its end."""
        return self._usage.error

    def feed(self, data: bytes) -> None:
        """The next piece."""
        if not self.streamed:
            if len(self._body) <= MAX_ANSWER:
                self._body += data
            return
        for event in self._events.feed(data):
            self._usage.event(event)

    def body(self) -> dict[str, Any]:
        """The object that an answer is which is not streamed."""
        return parsed(bytes(self._body))

    def uses(self) -> list[ModelUse] | None:
        """What the answer used, as far as it has been read; None when it has not said anything of it."""
        if not self.streamed and not self.final:
            self._usage.whole(self.body())
        return self._usage.uses()


class _ServerSentEvents:
    """The JSON objects of server-sent events; `[DONE]` is one with the type `done`."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._pending += line
            if not self._skipping and self._pending.startswith(b"data:"):
                content = bytes(self._pending[5:]).strip()
                yield {"type": "done"} if content == b"[DONE]" else parsed(content)
            self._pending.clear()
            self._skipping = False
        self._pending += rest
        if len(self._pending) > MAX_EVENT:
            self._pending.clear()
            self._skipping = True


class _AwsEvents:
    """The events of AWS's binary event streams, as `{EVENT TYPE: PAYLOAD}`; an exception is an `error`.

    A message is its length and that of its headers (4 bytes each) and their checksum, headers, payload, checksum.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        self._pending += data
        while True:
            skipped = min(self._skip, len(self._pending))
            del self._pending[:skipped]
            self._skip -= skipped
            if len(self._pending) < 12:
                return
            length = int.from_bytes(self._pending[:4])
            if length > MAX_EVENT or length < 16 or crc32(self._pending[:8]) != self._int(8):
                self._skip = length if length >= 16 else len(self._pending)
                continue
            if len(self._pending) < length:
                return
            message = bytes(self._pending[:length])
            del self._pending[:length]
            yield _aws_event(message)

    def _int(self, at: int) -> int:
        return int.from_bytes(self._pending[at : at + 4])


def _aws_event(message: bytes) -> dict[str, Any]:
    end = 12 + int.from_bytes(message[4:8])
    headers, at = dict[str, str](), 12
    while at < end and message[at + 1 + message[at]] == 7:  # a text; these are the only ones that are needed
        name = message[at + 1 : at + 1 + message[at]].decode(errors="replace")
        at += 2 + message[at]
        size = int.from_bytes(message[at : at + 2])
        headers[name] = message[at + 2 : at + 2 + size].decode(errors="replace")
        at += 2 + size
    payload = parsed(message[end:-4])
    if headers.get(":message-type") in ("exception", "error"):
        kind = headers.get(":exception-type") or headers.get(":error-code") or "error"
        sentence = text_of(payload.get("message")) or headers.get(":error-message", "")
        return {"error": {"type": kind, "message": sentence}}
    if headers.get(":event-type") == "chunk":  # of InvokeModel: the model's own event, packed
        return parsed(b64decode(text_of(payload.get("bytes")).encode()))
    return {headers.get(":event-type", ""): object_of(payload)}
