"""`rclaude-admin log ...`: what an administrator does with the archive."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer, check_range, registered
from remote_claude.runtime.admin.progress import ProgressDisplay
from remote_claude.runtime.purpose import Purpose

if TYPE_CHECKING:
    from remote_claude.eventsourcing.jetstream import JetStreamEventLog
    from remote_claude.runtime.service import Runtime

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to `rclaude-admin log`."""
    for command in (head, verify, restore, export, trim):
        app.command()(command)
    app.command("import")(import_)


def head(
    new_key: Annotated[
        bool,
        typer.Option("--new-key", help="Sign with this home's key from now on: the one of before is lost."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Sign the archive's chain up to now, and keep that apart from broker and database."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.eventsourcing.postgres.schemas import connect
        from remote_claude.runtime.archive import signer, store

        async with connect(runtime.pool, store.SCHEMA) as connection:
            found = await store.read_head(connection)
            if found is None or not found.position:
                raise CommandRefused("nothing has been archived yet: the services do that while they run")
            await signer.claim(connection, runtime.heads, replace=new_key)
        try:
            path = runtime.heads.sign(found)
        except OSError as error:
            raise CommandRefused(f"the head could not be written: {error}") from error
        if as_json:
            document = {"position": found.position, "hash": found.hash.hex(), "file": str(path)}
            typer.echo(json.dumps(document))
        else:
            typer.echo(f"position {found.position} {found.hash.hex()} in {path}")

    administer(work, Purpose.LOOK)


def verify(as_json: Json = False) -> None:
    """Hold broker, archive and signed heads against each other. Exit code 1 and every difference when there is one."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.runtime.archive import verify as verifying

        with ProgressDisplay("verify") as progress:
            report = await verifying.verify(log_of(runtime), runtime.pool, runtime.heads, progress=progress)
        typer.echo(json.dumps(report.document()) if as_json else report.summary())
        if report.findings:
            raise typer.Exit(1)

    administer(work, Purpose.LOOK)


def restore(
    without_lost: Annotated[
        bool,
        typer.Option(
            "--without-lost",
            help="Give up for good what neither broker nor archive has, and end the log before it.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring back from the archive what the broker has lost, at the same positions. The services must be down."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.eventsourcing.jetstream.streams import KeysLost, check_keys
        from remote_claude.eventsourcing.postgres.rebuild import rebuild
        from remote_claude.runtime.archive import restore as restoring

        known = {view.name: view for view in registered(runtime)}
        with ProgressDisplay("restore") as progress:
            done = await restoring.restore(
                log_of(runtime), runtime.nats, runtime.pool, runtime.heads,
                without_lost=without_lost, progress=progress,
            )  # fmt: skip
        rebuilt = [name for name in done.ahead if name in known]
        with ProgressDisplay("fold") as progress:
            for name in rebuilt:
                await rebuild(known[name], runtime.pool, runtime.log, progress=progress)
        lost = {"first": done.last + 1, "last": done.lost} if done.lost else None
        if as_json:
            document = {"events": done.events, "first": done.first, "last": done.last}
            typer.echo(json.dumps({**document, "lost": lost, "rebuilt": rebuilt}))
        else:
            if done.events:
                typer.echo(f"{done.events:,} events are back, of positions {done.first} to {done.last}")
            if lost:
                typer.echo(
                    f"lost for good: positions {lost['first']} to {lost['last']}; the log ends at {done.last}"
                )
            for name in rebuilt:
                typer.echo(f"rebuilt: {name}")
            if not done.events and not lost:
                typer.echo(f"nothing was missing: the log goes to {done.last}")
        if others := [name for name in done.ahead if name not in known]:
            typer.echo(
                f"services start once these are rebuilt too, where their service is installed: {', '.join(others)}",
                err=True,
            )
        try:
            await check_keys(runtime.nats)
        except KeysLost as lost:
            typer.echo(f"before the services start: {lost}", err=True)

    administer(work, Purpose.MAINTAIN)


def export(
    file: Annotated[Path, typer.Argument(help="Where to; gzipped if it ends in .gz.")],
    start: Annotated[int, typer.Option("--from", min=1, help="First position.")] = 1,
    until: Annotated[int | None, typer.Option("--until", min=1, help="Last position.")] = None,
    as_json: Json = False,
) -> None:
    """Write what is archived into a file, with its hash chain."""
    check_range(start, until)

    async def work(runtime: Runtime) -> None:
        from remote_claude.runtime.archive import export as exporting

        try:
            with ProgressDisplay("export") as progress:
                end = await exporting.export(
                    runtime.pool, file, after=start - 1, until=until, progress=progress
                )
        except OSError as error:
            raise CommandRefused(f"{file} can't be written: {error.strerror or error}") from error
        document = {"first": start, "last": end.position, "hash": end.hash.hex(), "file": str(file)}
        text = f"positions {start} to {end.position} in {file}"
        typer.echo(json.dumps(document) if as_json else text)

    administer(work, Purpose.LOOK)


def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A file of `log export`.")],
    as_json: Json = False,
) -> None:
    """Add what an exported file has to an archive that ends before it. The services must be down."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.runtime.archive import export as exporting

        done = await exporting.import_export(runtime.pool, file)
        document = {"events": done.events, "last": done.last, "hash": done.hash.hex()}
        text = f"{done.events:,} events were added: the archive goes to {done.last}"
        typer.echo(json.dumps(document) if as_json else text)

    administer(work, Purpose.MAINTAIN)


def trim(
    backed_up: Annotated[
        Path,
        typer.Option(
            "--backed-up",
            exists=True,
            dir_okay=False,
            help="A file of `log export` that has what is dropped.",
        ),
    ],
    to: Annotated[int | None, typer.Option("--to", min=1, help="Last position to drop.")] = None,
    before: Annotated[
        datetime | None,
        typer.Option("--before", help="Drop what occurred before this day or moment, in UTC."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Drop the beginning of the log from the broker; the archive keeps it. The services must be down."""
    if (to is None) == (before is None):
        raise typer.BadParameter("say up to where: one of --to and --before")

    async def work(runtime: Runtime) -> None:
        from remote_claude.eventsourcing.events import timestamp
        from remote_claude.eventsourcing.postgres.schemas import connect
        from remote_claude.runtime.archive import store
        from remote_claude.runtime.archive import trim as trimming

        position = to
        if before is not None:
            async with connect(runtime.pool, store.SCHEMA) as connection:
                await store.create(connection)
                position = await store.position_before(connection, timestamp(before.replace(tzinfo=UTC)))
            if not position:
                raise CommandRefused(f"nothing that is archived occurred before {before}")
        assert position is not None
        with ProgressDisplay("verify") as progress:
            done = await trimming.trim(
                log_of(runtime), runtime.nats, runtime.pool, runtime.heads,
                to=position, backup=backed_up, clock=runtime.clock, progress=progress,
            )  # fmt: skip
        document = {"events": done.events, "first": done.first}
        text = f"{done.events:,} events are dropped; the broker's log begins at {done.first}"
        typer.echo(json.dumps(document) if as_json else text)

    administer(work, Purpose.MAINTAIN)


def log_of(runtime: Runtime) -> JetStreamEventLog:
    """The log as the broker has it, without what a process puts around it."""
    from remote_claude.contracts import REGISTRY
    from remote_claude.eventsourcing.jetstream import JetStreamEventLog

    return JetStreamEventLog(runtime.nats, REGISTRY)
