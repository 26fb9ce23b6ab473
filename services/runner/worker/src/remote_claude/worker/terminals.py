"""Terminals and ports of the sandbox, for people: each is a connection that the worker dials to its runner."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from remote_claude.worker.connection import RunnerConnection
from remote_claude.worker.dialing import dial
from remote_claude.worker.first_of import first_of
from remote_claude.worker.pipes import CHUNK, reading
from remote_claude.worker.protocol.codec import Malformed
from remote_claude.worker.protocol.messages import (
    Exited,
    Hello,
    Open,
    StreamOpened,
    TerminalSize,
    decode,
    encode,
)
from remote_claude.worker.streams import pump

HANGUP_S = 2.0
"""How long a shell may go on after its terminal is gone."""


async def serve_openings(
    connection: RunnerConnection, runner_url: str, workspace: Path, environment: Mapping[str, str]
) -> None:
    """Connect people to what they ask for, until cancelled."""
    async with asyncio.TaskGroup() as group:
        while True:
            opening = await connection.openings.get()
            group.create_task(_serve(connection, runner_url, opening, workspace, environment))


async def _serve(
    connection: RunnerConnection,
    runner_url: str,
    opening: Open,
    workspace: Path,
    environment: Mapping[str, str],
) -> None:
    with suppress(OSError, InvalidHandshake, TimeoutError, ConnectionClosed, Malformed):
        async with dial(runner_url) as ws:
            await ws.send(encode(Hello(session_key=connection.session_key, stream=opening.stream)))
            decode(await ws.recv(), StreamOpened)
            if opening.port:
                reader, writer = await asyncio.open_connection("127.0.0.1", opening.port)
                try:
                    await pump(reader, writer, ws)
                finally:
                    writer.close()
            else:
                await _terminal(ws, opening, workspace, environment)


async def _terminal(
    ws: ClientConnection, opening: Open, workspace: Path, environment: Mapping[str, str]
) -> None:
    ours, theirs = os.openpty()
    _resize(ours, opening.columns, opening.rows)
    async with reading(ours) as screen:
        try:
            shell = await asyncio.create_subprocess_exec(
                *("/bin/bash", "-i"),
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                cwd=workspace,
                env={**os.environ, **environment, "TERM": opening.term},
                start_new_session=True,
                preexec_fn=_take_terminal,  # the worker has one thread but for file work
            )
        finally:
            os.close(theirs)
        shown = asyncio.create_task(_show(screen, ws))
        typed = asyncio.create_task(_type(ws, ours))
        ended = asyncio.create_task(shell.wait())
        try:
            await first_of(ended, typed)
            if ended.done():
                await asyncio.wait({shown}, timeout=HANGUP_S)
                code = ended.result()
                await ws.send(encode(Exited(code=code if code >= 0 else 128 - code)))
        finally:
            for task in (shown, typed):
                task.cancel()
            await asyncio.gather(shown, typed, return_exceptions=True)
            if not ended.done():
                shell.send_signal(1)  # SIGHUP, as when a terminal is closed
                await asyncio.wait({ended}, timeout=HANGUP_S)
            if not ended.done():
                shell.kill()
            await ended


def _take_terminal() -> None:
    """In the child: its standard input becomes the terminal that Ctrl-C and the size belong to."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def _show(screen: asyncio.StreamReader, ws: ClientConnection) -> None:
    while data := await screen.read(CHUNK):
        await ws.send(data)


async def _type(ws: ClientConnection, terminal: int) -> None:
    """Until the person leaves."""
    with suppress(ConnectionClosed):
        async for data in ws:
            if isinstance(data, str):
                size = decode(data, TerminalSize)
                _resize(terminal, size.columns, size.rows)
                continue
            while data:
                try:
                    data = data[os.write(terminal, data) :]
                except BlockingIOError:  # nothing reads what is typed
                    await asyncio.sleep(0.02)


def _resize(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
