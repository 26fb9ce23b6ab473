"""Frames in flight to the runner: numbered from 1, kept until acknowledged, bounded."""

from __future__ import annotations

import asyncio
from collections import deque

from msgspec.structs import replace

from remote_claude.worker.protocol import frames
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.codec import Malformed
from remote_claude.worker.protocol.frames import Frame, Output


class FrameWindow:
    """`put` waits while the window is full: that is what slows the agent down.

    Output that waits is gathered: neighbouring frames of one stream become one, up to the size of a frame.
    """

    def __init__(
        self, *, max_frames: int = protocol.WINDOW_FRAMES, max_bytes: int = protocol.WINDOW_BYTES
    ) -> None:
        self._max_frames, self._max_bytes = max_frames, max_bytes
        self._window: deque[bytes] = deque()
        self._bytes = 0
        self._sent = 0
        """How many of the window, from its left, are in flight."""
        self._gathering: list[Output] = []
        self._gathered = 0
        self._closed = False
        self._room, self._ready, self._empty = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._empty.set()
        self.acked = 0
        """Number of the last frame that the runner has stored."""

    async def put(self, frame: Frame) -> None:
        """Take a frame, in pieces if it is long; waits for room."""
        for piece in frames.split(frame):
            while self._full() and not self._closed:
                self._room.clear()
                await self._room.wait()
            if self._closed:
                return
            self._add(piece)
            self._empty.clear()
            self._ready.set()

    @property
    def waiting(self) -> bool:
        """There is something to send."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Wait until there is something to send."""
        await self._ready.wait()

    def take(self) -> tuple[int, list[bytes]]:
        """The number of the next unsent frame, and it and those after it that fit in a message."""
        self._seal()
        first, batch, size = self.acked + self._sent + 1, list[bytes](), 0
        for position in range(self._sent, len(self._window)):
            encoded = self._window[position]
            if batch and (size + len(encoded) > protocol.CHUNK or len(batch) == protocol.BATCH_FRAMES):
                break
            batch.append(encoded)
            size += len(encoded)
        self._sent += len(batch)
        if self._sent == len(self._window):
            self._ready.clear()
        return first, batch

    def acknowledge(self, seq: int) -> None:
        """The runner has stored everything up to here."""
        if seq - self.acked > self._sent:
            raise Malformed(f"frame {seq} is acknowledged and was never sent")
        while self.acked < seq:
            self._bytes -= len(self._window.popleft())
            self.acked += 1
            self._sent -= 1
        if not self._full():
            self._room.set()
        if not self._window and not self._gathering:
            self._empty.set()

    def rewind(self, acked: int) -> None:
        """A new connection: send again what the runner does not have."""
        self.acknowledge(acked)
        self._sent = 0
        if self._window or self._gathering:
            self._ready.set()

    async def flushed(self) -> None:
        """Wait until the runner has everything."""
        await self._empty.wait()

    def close(self) -> None:
        """The connection is gone: release the callers that wait."""
        self._closed = True
        self._room.set()

    def _full(self) -> bool:
        return (
            len(self._window) + bool(self._gathering) >= self._max_frames
            or self._bytes + self._gathered >= self._max_bytes
        )

    def _add(self, frame: Frame) -> None:
        if isinstance(frame, Output):
            size = frames.size(frame.text)
            last = self._gathering[-1] if self._gathering else None
            if last and (last.stream != frame.stream or self._gathered + size > frames.MAX_TEXT):
                self._seal()
            self._gathering.append(frame)
            self._gathered += size
        else:
            self._seal()
            self._append(frame)

    def _seal(self) -> None:
        if self._gathering:
            text = "".join(frame.text for frame in self._gathering)
            whole = replace(self._gathering[0], text=text)
            self._gathering, self._gathered = [], 0
            self._append(whole)

    def _append(self, frame: Frame) -> None:
        encoded = frames.encode(frame)
        self._window.append(encoded)
        self._bytes += len(encoded)
