"""`rclaude-admin`: the log, the views, and what each service lets an administrator do."""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from remote_claude.eventsourcing.errors import LogLostTail
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.rebuild import rebuild as rebuild_view
from remote_claude.eventsourcing.schemas import connect, read_checkpoint, read_parked
from remote_claude.eventsourcing.views import View
from remote_claude.runtime import broker_commands
from remote_claude.runtime import parked as parked_commands
from remote_claude.runtime.administration import Refused, administer
from remote_claude.runtime.archive import commands as archive_commands
from remote_claude.runtime.archive import store as archive
from remote_claude.runtime.host import Purpose, installed
from remote_claude.runtime.progress import Progress
from remote_claude.runtime.service import Runtime
from remote_claude.runtime.verification import verify as verify_log

ENTRY_POINTS = "remote_claude.admin"

app = typer.Typer(
    name="rclaude-admin",
    help="Read the log, rebuild views, verify what must always hold.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a check found something, 2 refused, 4 nothing runs, or broker or PostgreSQL is away.",
)
log_app = typer.Typer(no_args_is_help=True, help="The event log.")
archive_commands.add_to(log_app)
app.add_typer(log_app, name="log")
app.add_typer(parked_commands.app, name="parked")
app.add_typer(broker_commands.app, name="broker")

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Type = Annotated[str | None, typer.Option("--type", help="Only events of this type, such as TaskStarted.")]
Subject = Annotated[
    str | None, typer.Option("--subject", help="Only this stream, or `ev.scheduler.>` with wildcards.")
]


def main() -> None:
    """Run the command line, with the commands that the installed services contribute."""
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda e: e.name):
        app.add_typer(entry.load(), name=entry.name)
    try:
        app()
    except BrokenPipeError:
        sys.stderr.close()


@log_app.command()
def read(
    start: Annotated[int, typer.Option("--from", min=1, help="First position.")] = 1,
    until: Annotated[int | None, typer.Option("--until", min=1, help="Last position.")] = None,
    type_: Type = None,
    subject: Subject = None,
    as_json: Json = False,
) -> None:
    """Print the events that there are, a line each."""

    async def work(runtime: Runtime) -> None:
        async for batch in runtime.log.read(after=start - 1, until=until, subjects=subject):
            _print(batch, type_, as_json)

    administer(work, Purpose.LOOK)


@log_app.command()
def tail(type_: Type = None, subject: Subject = None, as_json: Json = False) -> None:
    """Print events as they come, until interrupted."""

    async def work(runtime: Runtime) -> None:
        async for batch in runtime.tail.subscribe(after=await runtime.log.last_position()):
            _print([e for e in batch if _matches(subject, e.stream)], type_, as_json)

    administer(work, Purpose.LOOK)


@app.command()
def views(as_json: Json = False) -> None:
    """List the views of the installed services: how far each is, and what it had to park."""

    async def work(runtime: Runtime) -> None:
        head = await runtime.log.last_position()
        rows = []
        for view in registered(runtime):
            async with connect(runtime.pool, view.name) as connection:
                checkpoint = await read_checkpoint(connection, view.name)
                parked = sum((await read_parked(connection)).values()) if checkpoint else 0
            position = checkpoint.position if checkpoint else 0
            rows.append(
                {
                    "name": view.name,
                    "position": position,
                    "lag": max(0, head - position),
                    "version": checkpoint.version if checkpoint else None,
                    "parked": parked,
                }
            )
        if as_json:
            typer.echo(json.dumps(rows))
        else:
            for row in rows:
                typer.echo("{name:<28} position {position:>10} lag {lag:>6} parked {parked}".format_map(row))
            async with connect(runtime.pool, archive.SCHEMA) as connection:
                kept = await archive.read_head(connection)
            position = kept.position if kept is not None else 0
            typer.echo(f"{'the archive':<28} position {position:>10} lag {max(0, head - position):>6}")

    administer(work, Purpose.LOOK)


@app.command()
def rebuild(
    view: Annotated[str, typer.Argument(help="The view's name, see `rclaude-admin views`.")],
    as_json: Json = False,
) -> None:
    """Build a view anew from the log beside the live one, compare the two, swap the new one in."""

    async def work(runtime: Runtime) -> None:
        known = {v.name: v for v in registered(runtime)}
        if view not in known:
            raise Refused(f"there is no view {view!r}; there are: {', '.join(sorted(known))}")
        try:
            with Progress("fold") as progress:
                result = await rebuild_view(known[view], runtime.pool, runtime.log, progress=progress)
        except LogLostTail as error:
            raise Refused(str(error)) from error
        rate = result.events / result.seconds if result.seconds else 0.0
        if as_json:
            document = {"view": view, "equal": result.equal, "events": result.events, "rows": result.rows}
            typer.echo(
                json.dumps({**document, "position": result.position, "seconds": round(result.seconds, 3)})
            )
        else:
            compared = {
                True: "equal to the live view",
                False: "DIFFERENT from the live view",
                None: "not compared",
            }
            typer.echo(f"{view}: {result.events:,} events, {rate:,.0f}/s, {compared[result.equal]}")
        if result.equal is False:
            typer.echo(f"first difference: {result.difference}", err=True)
            raise typer.Exit(1)

    administer(work, Purpose.LOOK)


@app.command()
def verify(as_json: Json = False) -> None:
    """Check the log for what must always hold. Exit code 1 and the first violation when something does not."""

    async def work(runtime: Runtime) -> None:
        report = await verify_log(runtime.log)
        if as_json:
            typer.echo(json.dumps(report.document()))
        else:
            typer.echo(report.summary())
        if report.violations:
            raise typer.Exit(1)

    administer(work, Purpose.LOOK)


def registered(runtime: Runtime) -> list[View]:
    """Every view of every installed service, by name."""
    views = [view for build in installed() for view in build(runtime).views]
    return sorted(views, key=lambda view: view.name)


def document(recorded: RecordedEvent) -> dict[str, Any]:
    """An event as `log read --json` prints it."""
    data = json.loads(recorded.data)
    return {
        "position": recorded.position,
        "id": recorded.event_id,
        "type": recorded.type,
        "version": recorded.version,
        "subject": recorded.stream,
        "time": recorded.occurred_at,
        "task": data.get("task"),
        "causation": recorded.causation_id,
        "correlation": recorded.correlation_id,
        "data": data,
    }


def _print(batch: list[RecordedEvent], type_: str | None, as_json: bool) -> None:
    for recorded in batch:
        if type_ is not None and recorded.type != type_:
            continue
        if as_json:
            typer.echo(json.dumps(document(recorded), ensure_ascii=False))
        else:
            typer.echo(f"{recorded.position:>8} {recorded.occurred_at} {recorded.type:<26} {recorded.stream}")


def _matches(pattern: str | None, subject: str) -> bool:
    """Whether a broker wildcard covers a subject."""
    if pattern is None:
        return True
    wanted, tokens = pattern.split("."), subject.split(".")
    for n, part in enumerate(wanted):
        if part == ">":
            return len(tokens) > n
        if n >= len(tokens) or part not in ("*", tokens[n]):
            return False
    return len(wanted) == len(tokens)
