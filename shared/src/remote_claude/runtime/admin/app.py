"""`rclaude-admin`: the log, the views, and what each service lets an administrator do."""

from __future__ import annotations

import difflib
import json
import re
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.runtime.admin import broker_commands, evidence_commands, parked_commands
from remote_claude.runtime.admin import log_commands as archive_commands
from remote_claude.runtime.admin.command_support import CommandRefused, administer, check_range, registered
from remote_claude.runtime.admin.lines import event_line, print_views, screen_width
from remote_claude.runtime.admin.progress import ProgressDisplay
from remote_claude.runtime.purpose import Purpose

if TYPE_CHECKING:
    from remote_claude.eventsourcing.events import RecordedEvent
    from remote_claude.eventsourcing.postgres.rebuild import RebuildResult
    from remote_claude.runtime.service import Runtime

ENTRY_POINTS = "remote_claude.admin"
SUBJECT = re.compile(r"(?:ev|\*)(?:\.(?:\*|[^\s.*>]+))*(?:\.>)?|>")
"""What a broker takes for a subject of the log, or for a pattern of some."""

app = typer.Typer(
    name="rclaude-admin",
    help="Read the log, rebuild views, verify what must always hold.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a check found something, 2 refused, 4 nothing runs, or broker or PostgreSQL is away, "
    "130 interrupted, 141 output closed.",
)
log_app = typer.Typer(no_args_is_help=True, help="The event log.")
archive_commands.add_to(log_app)
app.add_typer(log_app, name="log")
app.add_typer(parked_commands.app, name="parked")
app.add_typer(broker_commands.app, name="broker")
app.add_typer(evidence_commands.app, name="evidence")

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def _known_type(name: str | None) -> str | None:
    if name is None:
        return None
    from remote_claude.contracts import REGISTRY

    if name in REGISTRY.events:
        return name
    near = difflib.get_close_matches(name, REGISTRY.events)
    advice = f"near it are {', '.join(near)}" if near else "docs/reference/asyncapi.json has all"
    raise typer.BadParameter(
        f"this release has no event {name!r}; {advice}. One of another release is found by --subject"
    )


def _subject(pattern: str | None) -> str | None:
    if pattern is not None and not SUBJECT.fullmatch(pattern):
        raise typer.BadParameter(f"not a subject of the log: {pattern!r}; such as 'ev.scheduler.>'")
    return pattern


Type = Annotated[
    str | None,
    typer.Option("--type", callback=_known_type, help="Only events of this type, such as TaskStarted."),
]
Subject = Annotated[
    str | None,
    typer.Option(
        "--subject", callback=_subject, help="Only this stream, or `ev.scheduler.>` with wildcards."
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rclaude-admin {version('remote-claude-shared')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end."),
    ] = False,
) -> None:
    """Read the log, rebuild views, verify what must always hold."""


def complete() -> typer.Typer:
    """The commands, with those that the installed services contribute."""
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda e: e.name):
        app.add_typer(entry.load(), name=entry.name)
    return app


@log_app.command()
def read(
    start: Annotated[int, typer.Option("--from", min=1, help="First position.")] = 1,
    until: Annotated[int | None, typer.Option("--until", min=1, help="Last position.")] = None,
    type_: Type = None,
    subject: Subject = None,
    as_json: Json = False,
) -> None:
    """Print the events that there are, a line each."""
    check_range(start, until)

    async def work(runtime: Runtime) -> None:
        if start - 1 > (last := await runtime.log.last_position()):
            raise CommandRefused(f"the log ends at {last}")
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
        from remote_claude.eventsourcing.postgres.schemas import connect, read_checkpoint, read_parked
        from remote_claude.runtime.archive import store as archive

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
                    "kind": "view",
                    "position": position,
                    "lag": max(0, head - position),
                    "version": checkpoint.version if checkpoint else None,
                    "parked": parked,
                }
            )
        async with connect(runtime.pool, archive.SCHEMA) as connection:
            kept = await archive.read_head(connection)
        position = kept.position if kept is not None else 0
        lag = max(0, head - position)
        rows.append(
            {
                "name": "archive",
                "kind": "archive",
                "position": position,
                "lag": lag,
                "version": None,
                "parked": 0,
            }
        )
        if as_json:
            typer.echo(json.dumps(rows))
            return
        print_views(rows, screen_width())

    administer(work, Purpose.LOOK)


@app.command()
def rebuild(
    views: Annotated[
        list[str], typer.Argument(metavar="VIEW...", help="Their names, see `rclaude-admin views`.")
    ],
    as_json: Json = False,
) -> None:
    """Rebuild views from the log beside the live ones, compare, swap the new ones in. One after the other."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.eventsourcing.postgres.rebuild import rebuild as rebuild_view

        known = {v.name: v for v in registered(runtime)}
        for view in views:
            if view not in known:
                raise CommandRefused(f"there is no view {view!r}; there are: {', '.join(sorted(known))}")
        different = False
        for view in views:
            with ProgressDisplay("fold") as progress:
                result = await rebuild_view(known[view], runtime.pool, runtime.log, progress=progress)
            _print_rebuild(view, result, as_json=as_json)
            different |= result.equal is False
        if different:
            raise typer.Exit(1)

    administer(work, Purpose.LOOK)


def _print_rebuild(view: str, result: RebuildResult, *, as_json: bool) -> None:
    rate = result.events / result.seconds if result.seconds else 0.0
    if as_json:
        document = {"view": view, "equal": result.equal, "events": result.events, "rows": result.rows}
        typer.echo(json.dumps({**document, "position": result.position, "seconds": round(result.seconds, 3)}))
    else:
        compared = {
            True: "equal to the live view",
            False: "DIFFERENT from the live view",
            None: "not compared",
        }
        typer.echo(f"{view}: {result.events:,} events, {rate:,.0f}/s, {compared[result.equal]}")
    if result.equal is False:
        typer.echo(f"first difference: {result.difference}", err=True)


@app.command()
def verify(as_json: Json = False) -> None:
    """Check the log for what must always hold. Exit code 1 and the first violation when something does not."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.runtime.admin.verification import verify as verify_log

        report = await verify_log(runtime.log)
        if as_json:
            typer.echo(json.dumps(report.document()))
        else:
            typer.echo(report.summary())
        if report.violations:
            raise typer.Exit(1)

    administer(work, Purpose.LOOK)


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
    width = screen_width()
    for recorded in batch:
        if type_ is not None and recorded.type != type_:
            continue
        if as_json:
            typer.echo(json.dumps(document(recorded), ensure_ascii=False))
        else:
            typer.echo(
                event_line(recorded.position, recorded.occurred_at, recorded.type, recorded.stream, width)
            )


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
