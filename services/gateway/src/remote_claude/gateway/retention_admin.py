"""`rclaude-admin retention`: content of tasks whose time by the plan is over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer
from remote_claude.runtime.purpose import Purpose

if TYPE_CHECKING:
    from remote_claude.runtime.service import Runtime

app = typer.Typer(
    no_args_is_help=True, help="What is removed of tasks when the time that their plan keeps it is over."
)

On = Annotated[
    str | None, typer.Option("--on", help="As of this day, YYYY-MM-DD, in place of the present time.")
]


@app.command("list")
def list_(on: On = None) -> None:
    """Show whose content is due."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.gateway.content_removal import ContentRemoval

        removal = ContentRemoval(runtime.log, runtime.pool, runtime.objects, runtime.clock)
        for org, tasks in (await removal.due(_time(on, runtime))).items():
            for one in tasks:
                typer.echo(f"{org}  {one.task}  {', '.join(sorted(one.objects))}")

    administer(work, Purpose.LOOK, user="gateway")


@app.command()
def apply(on: On = None) -> None:
    """Remove now what is due, as the gateway does every hour. With --on also what is due by that day."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.gateway.content_removal import ContentRemoval

        removal = ContentRemoval(runtime.log, runtime.pool, runtime.objects, runtime.clock)
        removed = await removal.remove(_time(on, runtime))
        typer.echo(f"content of {removed} tasks is removed")

    administer(work, user="gateway")


def _time(on: str | None, runtime: Runtime) -> datetime:
    if on is None:
        return runtime.clock()
    try:
        return datetime.strptime(on, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise CommandRefused(f"{on!r} is no day; write it as 2027-01-31") from None
