"""A relay between two unix sockets that can be cut, for tests."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


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
