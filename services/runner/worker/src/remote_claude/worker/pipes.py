"""Pipes of a process of ours, read on any event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK = 64 * 1024


@asynccontextmanager
async def reading(fd: int) -> AsyncIterator[asyncio.StreamReader]:
    """Read a pipe's end, no further ahead than its reader wants; close it afterwards.

    `connect_read_pipe` would do, but under uvloop the pipe is closed twice, by libuv and by the file object. Between
    the two a thread may open something under the same number, and lose it (MagicStack/uvloop#763).
    """
    os.set_blocking(fd, False)
    reader = asyncio.StreamReader()
    source = _Source(fd, reader)
    reader.set_transport(source)
    source.resume_reading()
    try:
        yield reader
    finally:
        source.pause_reading()
        os.close(fd)


class _Source(asyncio.Transport):
    """Feeds a reader, which asks it to pause when it has enough."""

    def __init__(self, fd: int, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self._loop, self._fd, self._reader = asyncio.get_running_loop(), fd, reader

    def pause_reading(self) -> None:
        self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # of a terminal that nobody has open on the other side
            chunk = b""
        if chunk:
            self._reader.feed_data(chunk)
        else:
            self.pause_reading()
            self._reader.feed_eof()
