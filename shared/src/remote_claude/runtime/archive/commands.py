"""`rclaude-admin log ...`: what an administrator does with the archive."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.schemas import connect
from remote_claude.runtime.administration import Refused, administer, progress
from remote_claude.runtime.archive import restore as restoring
from remote_claude.runtime.archive import store
from remote_claude.runtime.archive import verify as verifying
from remote_claude.runtime.host import Purpose
from remote_claude.runtime.service import Runtime

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to `rclaude-admin log`."""
    for command in (head, verify, restore):
        app.command()(command)


def head(as_json: Json = False) -> None:
    """Sign where the archive's chain stands now, and keep that apart from broker and database."""

    async def work(runtime: Runtime) -> None:
        async with connect(runtime.pool, store.SCHEMA) as connection:
            found = await store.read_head(connection)
        if found is None or not found.position:
            raise Refused("nothing has been archived yet")
        try:
            path = runtime.heads.sign(found)
        except OSError as error:
            raise Refused(f"the head could not be written: {error}") from error
        if as_json:
            document = {"position": found.position, "hash": found.hash.hex(), "file": str(path)}
            typer.echo(json.dumps(document))
        else:
            typer.echo(f"position {found.position} {found.hash.hex()} in {path}")

    administer(work, Purpose.LOOK)


def verify(as_json: Json = False) -> None:
    """Hold broker, archive and signed heads against each other. Exit code 1 and every difference when there is one."""

    async def work(runtime: Runtime) -> None:
        report = await verifying.verify(log_of(runtime), runtime.pool, runtime.heads, progress=progress())
        typer.echo(json.dumps(report.document()) if as_json else report.summary())
        if report.findings:
            raise typer.Exit(1)

    administer(work, Purpose.LOOK)


def restore(as_json: Json = False) -> None:
    """Bring back from the archive what the broker has lost, at the same positions. The services must be down."""

    async def work(runtime: Runtime) -> None:
        result = await restoring.restore(
            log_of(runtime), runtime.nats, runtime.pool, runtime.heads, progress=progress()
        )
        if as_json:
            typer.echo(json.dumps({"events": result.events, "first": result.first, "last": result.last}))
        elif result.events:
            typer.echo(f"{result.events:,} events are back: positions {result.first} to {result.last}")
        else:
            typer.echo(f"nothing was missing: the log goes to {result.last}")

    administer(work, Purpose.MAINTAIN)


def log_of(runtime: Runtime) -> JetStreamEventLog:
    """The log as what it is here."""
    assert isinstance(runtime.log, JetStreamEventLog)
    return runtime.log
