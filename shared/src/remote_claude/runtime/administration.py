"""What an administrator's command stands on: the stack's own connections, without any of its background work."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Literal

import typer
from psycopg import OperationalError

from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import LogUnavailable, NotPermitted
from remote_claude.eventsourcing.streams import StreamsMissing
from remote_claude.runtime import host
from remote_claude.runtime.accounts import ADMIN, accounts
from remote_claude.runtime.archive.errors import ArchiveError
from remote_claude.runtime.broker import BrokerError
from remote_claude.runtime.embedded import EmbeddedError, Home, Supervisor, servers_for
from remote_claude.runtime.host import Purpose, connected
from remote_claude.runtime.service import Runtime
from remote_claude.runtime.settings import BadSettings, RuntimeSettings
from remote_claude.runtime.stack_file import NotRunning, StackFile
from remote_claude.runtime.telemetry import Metrics, configure_logging


class Refused(Exception):
    """The command can't be carried out as asked; nothing was changed."""


@contextlib.asynccontextmanager
async def settings(user: str = ADMIN, *, start: bool = False) -> AsyncIterator[RuntimeSettings]:
    """Where the stack is: from the environment, else from the file that an embedded stack keeps in its home.

    `start` brings the servers of a home that is down up for as long as this lasts, without the services.
    """
    if "RCLAUDE_NATS_URL" in os.environ:
        yield RuntimeSettings.from_environment()
        return
    home = Home.from_env(os.environ)
    try:
        known = StackFile.load(home).settings(user)
    except NotRunning:
        if not start or not (home.root / "kek").exists():
            raise
    else:
        yield known
        return
    with home:
        servers = servers_for(home, os.environ, accounts=accounts())
        async with Supervisor(servers.children, log_dir=home.log):
            yield RuntimeSettings(
                home=home.root,
                nats_url=servers.nats_url,
                nats_credentials=servers.nats_credentials.get(user),
                postgres_dsn=servers.postgres_dsn,
                objects=str(home.root / "objects"),
                kek_file=home.root / "kek",
            )


def administer(
    work: Callable[[Runtime], Awaitable[None]], purpose: Purpose = Purpose.WORK, *, user: str = ADMIN
) -> None:
    """Connect, do the work, disconnect. Exit codes: 2 for what was refused, 4 when nothing runs, or not now.

    Whoever does not work with the log but looks at it or maintains it needs no services: a home's servers are started.
    `user` of the embedded broker: the service itself for what is said in its name.
    """

    async def run() -> None:
        metrics = Metrics("admin")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(metrics.close)
            where = await stack.enter_async_context(settings(user, start=purpose is not Purpose.WORK))
            await work(await stack.enter_async_context(connected(where, os.environ, metrics, purpose)))

    configure_logging("warning", as_json=False)
    with refusing(Refused, NotPermitted, StreamsMissing):
        host.run(run())


async def require(runtime: Runtime, what: Literal["organisation", "person"], id: str) -> None:
    """Raises `Refused` when there is no such organisation or person."""
    try:
        stream = (
            stream_id("users", id, "org", id)
            if what == "organisation"
            else stream_id("users", None, "user", id)
        )
    except ValueError:  # a wildcard would find anybody's
        known = False
    else:
        known = bool(await runtime.log.read_stream(stream))
    if not known:
        raise Refused(f"there is no {what} {id}")


@contextlib.contextmanager
def refusing(*refusals: type[Exception]) -> Iterator[None]:
    """Give these errors' words and exit code 2; 4 when nothing runs, or broker or PostgreSQL can't be used."""
    try:
        yield
    except (NotRunning, BrokerError, LogUnavailable) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(4) from error
    except OperationalError as error:
        typer.echo(f"PostgreSQL can't be used: {error}", err=True)
        raise typer.Exit(4) from error
    except refusals as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    except (ArchiveError, BadSettings, EmbeddedError) as error:
        typer.echo(f"{error.code}: {error}", err=True)
        raise typer.Exit(2) from error
