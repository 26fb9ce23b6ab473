"""What an administrator's command stands on: the stack's own connections, without any of its background work."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

import typer

from remote_claude.runtime.host import connected
from remote_claude.runtime.service import Runtime
from remote_claude.runtime.settings import RuntimeSettings
from remote_claude.runtime.stack_file import NotRunning, StackFile
from remote_claude.runtime.telemetry import Metrics, configure_logging


class Refused(Exception):
    """The command can't be carried out as asked; nothing was changed."""


def settings() -> RuntimeSettings:
    """Where the stack is: from the environment, else from the file that an embedded stack keeps in its home."""
    if "RCLAUDE_NATS_URL" in os.environ:
        return RuntimeSettings()  # from the environment
    return StackFile.load().settings()


def administer(work: Callable[[Runtime], Awaitable[None]]) -> None:
    """Connect, do the work, disconnect. Exit codes: 2 for what was refused, 4 when nothing runs."""

    async def run() -> None:
        metrics = Metrics("admin")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(metrics.close)
            await work(await stack.enter_async_context(connected(settings(), os.environ, metrics)))

    configure_logging("warning", as_json=False)
    try:
        asyncio.run(run())
    except NotRunning as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(4) from error
    except Refused as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
