"""WebSocket frames that are encoded once and written to many sockets.

uvicorn encodes a message for each socket and wakes a task of each to send it. Where the same text goes to a thousand
sockets, that is most of what it costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

EXTENSION = "remote_claude.frames"
"""Where a socket's scope has its `WriteFrame`."""

WriteFrame: TypeAlias = Callable[[bytes], bool]
"""Write an encoded frame now; False, and nothing is written, where the peer has to be waited for or is gone."""


class FramesProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which also takes encoded frames."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:
            self.scope["extensions"][EXTENSION] = {"write": self.write_frame}

    def write_frame(self, frame: bytes) -> bool:
        """A `WriteFrame`."""
        open_ = self.handshake_complete and not (self.close_sent or self.disconnected)
        if not open_ or not self.writable.is_set() or self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True


def text_frame(text: str) -> bytes:
    """A text message in one frame, as a server sends it: not masked, not compressed."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


def writer_of(socket: WebSocket) -> WriteFrame | None:
    """How frames are written to a socket; None behind another server."""
    write: WriteFrame | None = socket.scope.get("extensions", {}).get(EXTENSION, {}).get("write")
    return write
