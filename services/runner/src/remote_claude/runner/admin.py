"""`rclaude-admin runners`: what each runner holds; drain and undrain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer
from remote_claude.runtime.purpose import Purpose

if TYPE_CHECKING:
    from remote_claude.contracts.runner import RunnerDrained, RunnerJoined, RunnerUndrained
    from remote_claude.eventsourcing import EventLog
    from remote_claude.runtime.service import Runtime

app = typer.Typer(no_args_is_help=True, help="Runners: what each holds, drain, undrain.")
Runner = Annotated[str, typer.Argument(help="Its id, runner_...")]


async def known(log: EventLog) -> dict[str, tuple[RunnerJoined, bool]]:
    """Every runner that has ever joined, as it joined last, and whether it is drained."""
    from remote_claude.contracts.runner import RunnerDrained, RunnerJoined

    found: dict[str, tuple[RunnerJoined, bool]] = {}
    async for batch in log.read(subjects="ev.runner._.runner.>"):
        for recorded in batch:
            if recorded.type == RunnerJoined.type:
                found[recorded.event.runner] = recorded.event, False
            elif recorded.event.runner in found:
                joined, _ = found[recorded.event.runner]
                found[recorded.event.runner] = joined, recorded.type == RunnerDrained.type
    return found


@app.command("list")
def list_runners() -> None:
    """Each runner that has joined: its state, its slots, and the attempts that it holds, one a line."""

    async def show(runtime: Runtime) -> None:
        from remote_claude.eventsourcing.postgres.schemas import borrow
        from remote_claude.runner.projections.held import held_by

        async with borrow(runtime.pool) as connection:
            for id, (joined, drained) in sorted((await known(runtime.log)).items()):
                held = await held_by(connection, id)
                state = "drained" if drained else "takes work"
                typer.echo(f"{id} {joined.provider} {state}: {len(held)} of {joined.slots} slots")
                for attempt in held:
                    typer.echo(f"  {attempt.task}-{attempt.attempt} of {attempt.org}")

    administer(show, Purpose.LOOK)


@app.command()
def drain(runner: Runner) -> None:
    """Let a runner finish what it has, and give it no more work. It takes work again when it is started again."""
    from remote_claude.contracts.runner import RunnerDrained

    _record(RunnerDrained(runner=runner), drained=True)


@app.command()
def undrain(runner: Runner) -> None:
    """Let a drained runner take work again."""
    from remote_claude.contracts.runner import RunnerUndrained

    _record(RunnerUndrained(runner=runner), drained=False)


def _record(event: RunnerDrained | RunnerUndrained, *, drained: bool) -> None:
    async def change(runtime: Runtime) -> None:
        from remote_claude.eventsourcing import CommandHandler
        from remote_claude.eventsourcing.events import stream_id
        from remote_claude.runner.assignments import PRESENCE

        before = (await known(runtime.log)).get(event.runner)
        if before is None:
            raise CommandRefused(
                f"there is no runner {event.runner}: `rclaude-admin runners list` shows them"
            )
        if before[1] != drained:
            stream = stream_id("runner", None, "runner", event.runner)
            await CommandHandler(runtime.log, runtime.clock).handle(PRESENCE, stream, event)
        typer.echo(f"{event.runner} {'finishes what it has' if drained else 'takes work'}")

    administer(change, user="runner")
