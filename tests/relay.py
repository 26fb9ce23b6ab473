"""Relays that can be cut, for tests: between two unix sockets, and in front of a broker."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit


class Relay:
    """Carries bytes both ways. `cut` drops every connection; `cut_every` does it after so many bytes of each."""

    def __init__(self, target: Path, cut_every: int | None) -> None:
        self._target, self._cut_every = target, cut_every
        self._writers: set[StreamWriter] = set()
        self.connections = 0

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_unix_connection(str(self._target))
        ends = {writer, far_writer}
        self._writers |= ends
        left = [self._cut_every]

        async def pump(source: StreamReader, target: StreamWriter) -> None:
            try:
                while data := await source.read(64 * 1024):
                    if left[0] is not None:
                        left[0] -= len(data)
                        if left[0] < 0:
                            break
                    target.write(data)
                    await target.drain()
            except ConnectionError:
                return  # cut
            finally:
                for end in ends:
                    end.transport.abort()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        self._writers -= ends


@asynccontextmanager
async def relay(path: Path, target: Path, *, cut_every: int | None = None) -> AsyncIterator[Relay]:
    """Listen on `path`, which need not lead anywhere until somebody connects."""
    one = Relay(target, cut_every)
    server = await asyncio.start_unix_server(one.carry, str(path))
    try:
        yield one
    finally:
        server.close()
        one.cut()


class Frames:
    """Finds where the NATS protocol's frames end in a stream of bytes."""

    def __init__(self) -> None:
        self._line, self._left = b"", 0

    def ends(self, data: bytes) -> list[int]:
        """The offsets in `data`, the next bytes of the stream, at which a frame has just ended."""
        found, at = [], 0
        while at < len(data):
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
            else:
                end = data.find(b"\n", at) + 1 or len(data)
                self._line += data[at:end]
                at = end
                if not self._line.endswith(b"\n"):
                    break
                words = self._line.split()
                self._left = int(words[-1]) + 2 if words[0] in (b"PUB", b"HPUB", b"MSG", b"HMSG") else 0
                self._line = b""
            if not self._left:
                found.append(at)
        return found


@dataclass(frozen=True)
class Cut:
    """Where a connection ends: after so many bytes, or else frames, that go `up` to the broker or down from it."""

    up: bool
    frames: int | None = None
    bytes: int | None = None
    then: Callable[[], None] | None = None

    def __str__(self) -> str:
        where = f"{self.frames} frames" if self.frames is not None else f"{self.bytes} bytes"
        return f"after {where} {'up' if self.up else 'down'}"


class CuttingRelay:
    """A TCP relay in front of a broker. `cuts` are what is still to come, each counted from the one before it.

    What was let through before a cut does arrive, each piece as many seconds late as `lag` says.
    """

    def __init__(self, broker: str, lag: Callable[[], float] = lambda: 0.0) -> None:
        at = urlsplit(broker)
        self._target, self._lag = (at.hostname, at.port), lag
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[StreamWriter] = set()
        self.cuts: list[Cut] = []
        self.counted = {True: 0, False: 0}
        self._frames = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving)

    def arm(self, *cuts: Cut) -> None:
        """Count from now on."""
        self.cuts, self.counted, self._frames = list(cuts), {True: 0, False: 0}, 0

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            upstream, to_broker = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, to_broker}
        ended: list[Cut] = []

        async def pump(up: bool, source: StreamReader, target: StreamWriter) -> None:
            frames = Frames()
            with suppress(OSError):
                while data := await source.read(64 * 1024):
                    if ended:
                        continue  # read and forgotten, so that the other end is closed in peace
                    await asyncio.sleep(self._lag())
                    passes = self._passes(up, data, frames.ends(data))
                    target.write(data[:passes])
                    if passes is not None:
                        ended.append(self.cuts.pop(0))
                        self.counted, self._frames = {True: 0, False: 0}, 0
                        to_broker.write_eof()
                        writer.close()
                        if then := ended[0].then:
                            then()
                    else:
                        await target.drain()
            with suppress(OSError, RuntimeError):  # closed already
                target.write_eof()

        try:
            await asyncio.gather(pump(True, reader, to_broker), pump(False, upstream, writer))
        finally:
            writer.close()
            to_broker.close()
            self._writers -= {writer, to_broker}

    def _passes(self, up: bool, data: bytes, ends: list[int]) -> int | None:
        """How much of `data` gets through before a cut; None for all of it, and no cut."""
        cut = self.cuts[0] if self.cuts and self.cuts[0].up == up else None
        counted, self.counted[up] = self.counted[up], self.counted[up] + len(data)
        if cut is None:
            return None
        if cut.bytes is not None:
            return cut.bytes - counted if cut.bytes - counted < len(data) else None
        assert cut.frames is not None
        left = cut.frames - self._frames
        self._frames += len(ends)
        return ([0, *ends][left]) if left <= len(ends) else None
