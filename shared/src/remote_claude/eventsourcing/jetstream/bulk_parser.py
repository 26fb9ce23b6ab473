"""Takes the frames of the NATS protocol apart without nats-py's parser.

That one matches two regular expressions to a message and cuts it off the front of its buffer twice, which is most of what
a reader of the log spends; a message takes a third of that here. Messages of a subscription with a handler go straight
to it. Everything else goes to nats-py's own parser, a whole frame at a time.
"""

from __future__ import annotations

from collections.abc import Mapping

from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_MSG_PAYLOAD, CRLF_SIZE, Parser

from remote_claude.eventsourcing.jetstream.nats_client import Handler


class BulkParser:
    """Reads before the parser of one connection does. `handlers` are by subscription id."""

    def __init__(self, ordinary: Parser, handlers: Mapping[bytes, Handler]) -> None:
        self._ordinary = ordinary
        self._handlers = handlers
        self._rest = b""

    def reset(self) -> None:
        """Forget what has arrived of a frame: the connection is another one."""
        self._rest = b""
        self._ordinary.reset()

    async def parse(self, data: bytes = b"") -> None:
        """Handle what has arrived. Raises `nats.errors.ProtocolError`."""
        ordinary = self._ordinary
        if ordinary.state == AWAITING_MSG_PAYLOAD:  # it was at a message when this one came before it
            missing = ordinary.needed + CRLF_SIZE - len(ordinary.buf)
            await ordinary.parse(data[:missing])
            data = data[missing:]
        elif ordinary.buf:
            self._rest = bytes(ordinary.buf)
            ordinary.buf.clear()
        self._rest += data
        while self._rest:
            try:
                start, end = self._hand_out(self._rest)
            except (ValueError, IndexError) as error:
                raise ProtocolError(f"nats: not a frame of a message: {error}") from error
            frame, self._rest = self._rest[start:end], self._rest[end:]
            if not frame:
                return
            await ordinary.parse(frame)

    def _hand_out(self, buffer: bytes) -> tuple[int, int]:
        """Call the handlers of the messages that it begins with. Where the first other frame is, empty if incomplete."""
        handlers, find, size, start = self._handlers, buffer.find, len(buffer), 0
        while (line_end := find(b"\r\n", start)) >= 0:
            line = buffer[start:line_end].split(b" ")
            data = body = line_end + CRLF_SIZE
            if line[0] == b"HMSG":
                data += int(line[-2])
            elif line[0] != b"MSG":
                return start, body
            data_end = body + int(line[-1])
            end = data_end + CRLF_SIZE
            if end > size:
                break
            handler = handlers.get(line[2])
            if handler is None:
                return start, end
            reply = line[3] if len(line) == (6 if line[0] == b"HMSG" else 5) else b""
            handler(line[1], reply, buffer[body:data], buffer[data:data_end])
            start = end
        return start, start
