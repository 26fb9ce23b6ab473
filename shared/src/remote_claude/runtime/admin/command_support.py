"""What an administrator's command uses: the stack's own connections, without any of its background work."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import typer

from remote_claude.runtime.admin.exits import Exit
from remote_claude.runtime.broker.accounts import ADMIN
from remote_claude.runtime.purpose import Purpose

if TYPE_CHECKING:
    from remote_claude.eventsourcing.views import View
    from remote_claude.runtime.service import Runtime
    from remote_claude.runtime.settings import RuntimeSettings

PATIENCE_S = 10.0
"""How long a command waits for a broker that does not answer. Services wait for as long as it takes."""


class CommandRefused(Exception):
    """The command can't be carried out as asked; nothing was changed."""

    code = "refused"


@contextlib.asynccontextmanager
async def settings(user: str = ADMIN, *, start: bool = False) -> AsyncIterator[RuntimeSettings]:
    """Where the stack is: from the environment, otherwise from the file that an embedded stack keeps in its home.

    `start` brings the servers of a home that is down up for as long as this lasts, without the services.
    """
    from remote_claude.runtime.broker.accounts import accounts
    from remote_claude.runtime.embedded import Home, HomeUse, Supervisor, servers_for
    from remote_claude.runtime.embedded.stack_file import NotRunning, StackFile
    from remote_claude.runtime.settings import RuntimeSettings
    from remote_claude.runtime.settings_sources import resolve

    resolve(os.environ)
    if "RCLAUDE_NATS_URL" in os.environ:
        yield RuntimeSettings.from_environment()
        return
    home = Home.from_env(os.environ, HomeUse.COMMAND)
    try:
        known = StackFile.load(home).settings(user)
    except NotRunning:
        if not start:
            raise
        if not (home.root / "kek").exists():
            raise NotRunning(
                f"{home.root} has no file kek, so there is no stack in it. To restore one, unpack the secrets of the "
                "backup there first (docs/guides/backup.md). `rclaude up` would make a new key and a new owner"
            ) from None
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
    """Connect, do the work, disconnect. `failure` says what its errors end in.

    A command that only looks at the log or maintains it needs no services: a home's servers are started.
    `user` of the embedded broker: the service itself for what is recorded in its name.
    """
    from remote_claude.runtime.lean_imports import import_lean

    import_lean()
    from remote_claude.eventsourcing import actors
    from remote_claude.runtime import host
    from remote_claude.runtime.telemetry.logs_and_metrics import Metrics, configure_logging

    async def run() -> None:
        actors.current.set(actors.Actor(f"{actors.OPERATOR}{_login_name()}"))
        metrics = Metrics("admin")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(metrics.close)
            where = await stack.enter_async_context(settings(user, start=purpose is not Purpose.WORK))
            runtime = host.connected(where, os.environ, metrics, purpose, patience=PATIENCE_S)
            await work(await stack.enter_async_context(runtime))

    configure_logging("warning", as_json=False)
    host.run(run())


def _login_name() -> str:
    """The user of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return str(os.getuid())


async def require(runtime: Runtime, what: Literal["organisation", "person"], id: str) -> None:
    """Raises `CommandRefused` when there is no such organisation or person."""
    from remote_claude.eventsourcing.events import stream_id

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
        raise CommandRefused(f"there is no {what} {id}")


def registered(runtime: Runtime) -> list[View]:
    """Every view of every installed service, by name."""
    from remote_claude.runtime.host import installed

    views = [view for build in installed() for view in build(runtime).views]
    return sorted(views, key=lambda view: view.name)


def check_range(start: int, until: int | None) -> None:
    """Raises `typer.BadParameter` for positions that end before they begin."""
    if until is not None and until < start:
        raise typer.BadParameter(f"--until {until} is before --from {start}")


class Failure(NamedTuple):
    """How an error ends a command: its exit code, its stable code, and what it says; `text` is that for people."""

    exit: Exit
    code: str
    detail: str
    text: str = ""


def failure(error: Exception) -> Failure | None:
    """What becomes of an error of a command, in words that need no traceback; None for one that is a fault of ours."""
    message = str(error) or repr(error)
    if isinstance(error, CommandRefused):
        return Failure(Exit.REFUSED, error.code, message)
    from nats.errors import Error as NatsError
    from nats.js.errors import APIError, ServiceUnavailableError
    from psycopg import Error as PostgresError
    from psycopg import InterfaceError, OperationalError

    from remote_claude.access.kek import KeyUnusable
    from remote_claude.eventsourcing.errors import LogLostTail, RebuildInProgress, RightsMissing, ViewStopped
    from remote_claude.eventsourcing.log import EventLogError, LogUnavailable
    from remote_claude.runtime.archive.errors import ArchiveError
    from remote_claude.runtime.broker.connection import BrokerError
    from remote_claude.runtime.embedded import EmbeddedError
    from remote_claude.runtime.embedded.stack_file import NotRunning
    from remote_claude.runtime.objects import ObjectsUnusable
    from remote_claude.runtime.settings import BadSettings

    match error:
        case NotRunning() | BrokerError() | LogUnavailable():
            return Failure(Exit.AWAY, error.code, message)
        case OperationalError() | InterfaceError():
            return Failure(Exit.AWAY, "postgres_unavailable", f"PostgreSQL can't be used: {message}")
        case TimeoutError():
            return Failure(Exit.AWAY, "timeout", f"no answer in time: {message}")
        case PostgresError():
            return Failure(
                Exit.REFUSED, "postgres_error", f"PostgreSQL refuses what was asked of it: {message.strip()}"
            )
        case APIError() if not isinstance(error, ServiceUnavailableError):
            return Failure(
                Exit.REFUSED, "broker_error", f"the broker refuses what was asked of it: {message}"
            )
        case NatsError():
            return Failure(Exit.AWAY, "broker_unavailable", f"the broker can't be used: {message}")
        case (
            ArchiveError() | BadSettings() | EmbeddedError() | ObjectsUnusable() | RightsMissing()
        ):  # the guides go by their codes
            return Failure(Exit.REFUSED, error.code, message, f"{error.code}: {message}")
        case EventLogError() | RebuildInProgress() | ViewStopped() | LogLostTail() | KeyUnusable():
            return Failure(Exit.REFUSED, error.code, message)
        case OSError():
            return Failure(Exit.REFUSED, "system_error", message)
    return None
