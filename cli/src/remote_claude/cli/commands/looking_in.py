"""`rclaude shell` and `rclaude port`: into the sandbox of a task that runs."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import typer

from remote_claude.cli import render
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect, task_id

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.sync.client import ClientConnection as Socket

    from remote_claude.cli.client import CliClient

LEAVE = b"\x1d"
"""Ctrl-]."""
CHUNK = 64 * 1024


def shell(task: Annotated[str, typer.Argument(help="A task that runs.")]) -> None:
    """Open a terminal in the sandbox of a task; Ctrl-] leaves it. What is piped in is typed."""
    client = connect()
    id = task_id(task, client)
    size = _size()
    query = {"columns": size.columns, "rows": size.lines, "term": os.environ.get("TERM") or "dumb"}
    from websockets.exceptions import ConnectionClosed

    with _socket(client, f"/v1/tasks/{id}/shell?{urlencode(query)}") as socket:
        try:
            raise typer.Exit(_terminal(socket))
        except ConnectionClosed as closed:
            raise _refused(id, closed.rcvd.code if closed.rcvd else 1006, closed.reason) from closed


def _size() -> os.terminal_size:
    """Of the terminal itself: `LINES` and `COLUMNS` of the environment don't follow it."""
    return os.get_terminal_size() if sys.stdout.isatty() else os.terminal_size((80, 24))


def _terminal(socket: Socket) -> int:
    """The exit code of the shell there."""
    interactive = sys.stdin.isatty()
    if interactive:
        render.note("Ctrl-] leaves the terminal")

        def resized(*_: object) -> None:
            now = _size()
            socket.send(json.dumps({"type": "size", "columns": now.columns, "rows": now.lines}))

        signal.signal(signal.SIGWINCH, resized)
    left = threading.Event()
    typing = threading.Thread(target=_type, args=(socket, interactive, left), daemon=True)
    with _raw_terminal() if interactive else nullcontext():
        typing.start()
        while not left.is_set():
            try:
                message = socket.recv(timeout=0.2 if interactive else None)
            except TimeoutError:
                continue
            if isinstance(message, str):
                return int(json.loads(message).get("code", 0))
            sys.stdout.buffer.write(message)
            sys.stdout.buffer.flush()
    return 0


def _type(socket: Socket, interactive: bool, left: threading.Event) -> None:
    with suppress(Exception):  # the connection is over: the reader gets the reason
        while True:
            if interactive and not select.select([sys.stdin], [], [], 0.2)[0]:
                continue
            data = os.read(sys.stdin.fileno(), CHUNK)
            if interactive and LEAVE in data:
                left.set()
                return
            socket.send(data or b"\x04")  # the end of what is piped in is Ctrl-D
            if not data:
                return


@contextmanager
def _raw_terminal() -> Iterator[None]:
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _socket(client: CliClient, path: str) -> Iterator[Socket]:
    from websockets.exceptions import InvalidHandshake
    from websockets.sync.client import connect as dial

    try:
        socket = dial(client.websocket_url(path), **client.websocket_options())
    except (InvalidHandshake, OSError, TimeoutError) as error:
        raise CliError(f"the server did not open the connection: {error}", Exit.UNREACHABLE) from error
    try:
        yield socket
    finally:
        socket.close()


def _refused(task: str, code: int, reason: str) -> CliError:
    if code == 4404:
        return CliError(
            f"{task} does not run now: `rclaude list` shows what does", Exit.USAGE, code="not_running"
        )
    return CliError(
        f"{task}: {reason or 'the connection was lost'} ({code})", Exit.UNREACHABLE, code="not_opened"
    )


def port(
    task: Annotated[str, typer.Argument(help="A task that runs.")],
    number: Annotated[int, typer.Argument(min=1, max=65535, help="The port in its sandbox.")],
    local: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="The port here; the same if left out, 0 for a free one."),
    ] = None,
) -> None:
    """Bring a port of the sandbox to this machine's loopback, until Ctrl-C."""
    client = connect()
    id = task_id(task, client)
    with suppress(KeyboardInterrupt):
        asyncio.run(_forward(client, id, number, number if local is None else local))


async def _forward(client: CliClient, task: str, number: int, local: int) -> None:
    from websockets.asyncio.client import connect as dial
    from websockets.exceptions import ConnectionClosed, InvalidHandshake

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with dial(
                client.websocket_url(f"/v1/tasks/{task}/ports/{number}"), **client.websocket_options()
            ) as socket:
                await _join(reader, writer, socket)
        except ConnectionClosed as closed:
            render.note(str(_refused(task, closed.rcvd.code if closed.rcvd else 1006, closed.reason)))
        except (InvalidHandshake, OSError, TimeoutError) as error:
            render.note(f"a connection failed: {error}")
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(carry, "127.0.0.1", local)
    except OSError as error:
        raise CliError(
            f"port {local} can't be used here ({error.strerror}): choose another with --local", Exit.USAGE
        ) from error
    async with server:
        here = server.sockets[0].getsockname()[1]
        render.say(f"http://127.0.0.1:{here} is port {number} of {task}; Ctrl-C ends it")
        await server.serve_forever()


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, socket: ClientConnection) -> None:
    async def outward() -> None:
        while data := await reader.read(CHUNK):
            await socket.send(data)
        await socket.send(b"")

    sending = asyncio.create_task(outward())
    try:
        async for data in socket:
            if not data:
                break
            writer.write(data if isinstance(data, bytes) else data.encode())
            await writer.drain()
        else:
            if socket.close_code not in (1000, None):
                render.note(str(_refused("the task", socket.close_code or 0, socket.close_reason or "")))
    finally:
        sending.cancel()
