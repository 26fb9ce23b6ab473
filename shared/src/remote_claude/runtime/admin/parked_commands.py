"""`rclaude-admin parked`: the events that views could not fold."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer

if TYPE_CHECKING:
    from remote_claude.eventsourcing.log import EventLog
    from remote_claude.eventsourcing.postgres.parking import DroppedEvent, ParkedEvent
    from remote_claude.eventsourcing.views import View
    from remote_claude.runtime.service import Runtime

app = typer.Typer(no_args_is_help=True, help="Events that views could not fold.")

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
AnyView = Annotated[
    str | None, typer.Argument(help="The view's name, see `rclaude-admin views`; all if left out.")
]


@app.command(name="list")
def list_(
    view: AnyView = None,
    dropped: Annotated[
        bool, typer.Option("--dropped", help="What was dropped instead, by whom and why.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what is parked, in log order."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.eventsourcing.postgres.parking import dropped_events, parked_events

        rows: list[dict[str, Any]] = []
        for each in chosen(runtime, view):
            if dropped:
                rows += [_dropped(event) for event in await dropped_events(runtime.pool, each)]
            else:
                rows += await _parked(runtime.log, each, await parked_events(runtime.pool, each))
        if as_json:
            typer.echo(json.dumps(rows, ensure_ascii=False))
            return
        if not rows:
            typer.echo("nothing was dropped" if dropped else "nothing is parked")
        for row in rows:
            what = "{by}: {reason}" if dropped else "{error}"
            line = "{view:<20} {position:>8} {since} {type:<26} {aggregate}  " + what
            typer.echo(line.format_map({"since": row.get("dropped_at")} | row))

    administer(work)


@app.command(name="retry")
def retry_(
    view: AnyView = None,
    position: Annotated[
        int | None, typer.Argument(min=1, help="Only this event and what waits behind it.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="What is parked in any view.")] = False,
    as_json: Json = False,
) -> None:
    """Fold what is parked again, in order: of a view, of one event's aggregate, or everything."""
    if view is not None and every:
        raise typer.BadParameter("a view or --all, not both")
    if view is None and not every:
        raise typer.BadParameter("name a view, or say --all")

    async def work(runtime: Runtime) -> None:
        from remote_claude.eventsourcing.postgres.parking import parked_events, retry

        done = []
        for each in chosen(runtime, view):
            if position is None and not await parked_events(runtime.pool, each):
                continue
            with _refused():
                tried = await retry(each, runtime.pool, runtime.log, position=position)
            left = await _parked(runtime.log, each, tried.parked)
            done.append({"view": each.name, "folded": list(tried.folded), "parked": left})
            if not as_json:
                typer.echo(f"{each.name}: {len(tried.folded)} folded, {len(left)} still parked")
                if left:
                    typer.echo(f"first: position {left[0]['position']}: {left[0]['error']}", err=True)
        if as_json:
            typer.echo(json.dumps(done, ensure_ascii=False))
        elif not done:
            typer.echo("nothing is parked")
        if any(each["parked"] for each in done):
            raise typer.Exit(1)

    administer(work)


@app.command(name="drop")
def drop_(
    view: Annotated[str, typer.Argument(help="The view's name, see `rclaude-admin views`.")],
    position: Annotated[int, typer.Argument(min=1, help="The event's position.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded.")],
    by: Annotated[str | None, typer.Option("--by", help="Who; you, if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Leave one parked event out of a view for good; rebuilds leave it out too. The log keeps it."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.eventsourcing.postgres.parking import drop

        [only] = chosen(runtime, view)
        who = by or getpass.getuser()
        with _refused():
            dropped, behind = await drop(
                only, runtime.pool, position, by=who, reason=reason, at=runtime.clock()
            )
        if as_json:
            left = await _parked(runtime.log, only, behind)
            typer.echo(json.dumps({**_dropped(dropped), "behind": left}, ensure_ascii=False))
            return
        typer.echo(f"{view}: position {position} is left out from now on")
        if behind:
            typer.echo(
                f"{len(behind)} events of its aggregate wait: rclaude-admin parked retry {view} {behind[0].position}"
            )

    administer(work)


def chosen(runtime: Runtime, name: str | None) -> list[View]:
    """The view of that name, or every view of the installed services."""
    from remote_claude.runtime.host import installed

    views = {view.name: view for build in installed() for view in build(runtime).views}
    if name is None:
        return [views[each] for each in sorted(views)]
    if name not in views:
        raise CommandRefused(f"there is no view {name!r}; there are: {', '.join(sorted(views))}")
    return [views[name]]


@contextmanager
def _refused() -> Iterator[None]:
    from remote_claude.eventsourcing.errors import RebuildInProgress
    from remote_claude.eventsourcing.postgres.parking import NotParked, OtherVersion

    try:
        yield
    except (NotParked, OtherVersion, RebuildInProgress) as error:
        raise CommandRefused(str(error)) from error


async def _parked(
    log: EventLog, view: View, events: list[ParkedEvent] | tuple[ParkedEvent, ...]
) -> list[dict[str, Any]]:
    """Documents of parked events. `since` is the event's own time, which the log knows; None when it does not."""
    since: dict[int, str] = {}
    first: dict[str, int] = {}
    for event in events:
        first.setdefault(event.stream, event.position)
    for stream, position in first.items():
        since |= {e.position: e.occurred_at for e in await log.read_stream(stream, after=position - 1)}
    return [
        {
            "view": view.name,
            "position": event.position,
            "id": event.event_id,
            "type": event.type,
            "version": event.version,
            "aggregate": event.stream,
            "error": event.reason,
            "since": since.get(event.position),
        }
        for event in events
    ]


def _dropped(event: DroppedEvent) -> dict[str, Any]:
    from remote_claude.eventsourcing.events import timestamp

    document = asdict(event)
    document["id"], document["aggregate"] = document.pop("event_id"), document.pop("stream")
    document["by"] = document.pop("dropped_by")
    return {**document, "dropped_at": timestamp(event.dropped_at)}
