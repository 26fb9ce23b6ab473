"""`rclaude run --best-of` and `rclaude compare`: candidates side by side, judged and put in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import render
from remote_claude.cli.candidates.group import Candidate, Group, group_of, new_name
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient

OF_THE_JUDGE = ("provider", "image", "network", "secrets", "priority", "timeout_s")
"""Fields of a submission that the judge's task has too."""


def run_candidates(
    client: CliClient,
    body: dict[str, Any],
    agents: list[str],
    size: int,
    *,
    judge: str | None,
    until: bool,
    detach: bool,
    as_json: bool,
) -> Exit:
    """Hand over `size` candidates of one request, follow and judge them, and show which is best."""
    settings = {name: body[name] for name in OF_THE_JUDGE if name in body}
    group = Group(client, new_name(), lambda one: _changed(one, quiet=as_json), settings)
    render.note(f"group: {group.name}")
    group.submit(body, agents, size)
    if detach:
        if as_json:
            render.emit(group.summary())
        render.note(f"compare them with `rclaude compare {group.name}`")
        return Exit.OK
    return _follow(group, judge, until=until, as_json=as_json)


def compare(
    group: Annotated[
        str | None, typer.Argument(help="The group, or one of its tasks; the newest if left out.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Judge those that are not judged yet by this command's exit code.")
    ] = None,
    until: Annotated[bool, typer.Option("--until", help="Cancel the others when one passes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show the candidates of a group side by side, the best first."""
    client = connect()
    found = Group(client, group_of(client, group), lambda one: _changed(one, quiet=True))
    if judge is None and not until:
        found.refresh()
        raise typer.Exit(_show(found, as_json=as_json, judging=False))
    raise typer.Exit(_follow(found, judge, until=until, as_json=as_json))


def agents_of(given: str | None, size: int, default: str) -> list[str]:
    """The agents of the candidates. Raises `CliError`."""
    agents = [name.strip() for name in (given or default).split(",") if name.strip()]
    if len(agents) > size:
        raise CliError(f"--agents names {len(agents)} agents for {size} candidates", Exit.USAGE)
    return agents or [default]


def _follow(group: Group, judge: str | None, *, until: bool, as_json: bool) -> Exit:
    try:
        with render.ProgressLine(f"following the candidates of {group.name}"):
            group.follow(judge, until=until)
    except KeyboardInterrupt:
        render.note(f"\nthe candidates go on; `rclaude compare {group.name}` shows them")
        return Exit.CANCELLED
    return _show(group, as_json=as_json, judging=judge is not None)


def _show(group: Group, *, as_json: bool, judging: bool) -> Exit:
    winner = group.winner
    if as_json:
        render.emit(group.summary())
    else:
        rows = [
            (
                str(one.number),
                one.task["agent"],
                str(one.task["state"]).replace("_", " "),
                _verdict(one),
                "-" if one.cost is None else render.money(one.cost),
                "-" if one.lines is None else str(one.lines),
                one.id,
            )
            for one in group.best
        ]
        render.table(
            ("candidate", "agent", "state", "judge", "cost", "lines", "task"),
            rows,
            expendable=("agent", "lines"),
        )
        judges = sum(one.judge_cost or 0 for one in group.candidates)
        parts = f", {render.money(judges)} of it for judging" if judges else ""
        render.say(f"group {group.name}: {render.money(group.cost)} for all candidates{parts}")
        if winner is not None:
            render.note(
                f"candidate {winner.number} is best: `rclaude diff --candidate {winner.number} {group.name}` shows it, "
                f"`rclaude apply --candidate {winner.number} {group.name}` takes it"
            )
        elif all(one.has_ended for one in group.candidates):
            render.note("no candidate passes")
    if winner is None and (judging or all(one.has_ended for one in group.candidates)):
        return Exit.FAILED
    return Exit.OK


def _verdict(one: Candidate) -> str:
    if one.judge is None:
        return "-"
    state, code = one.judge["state"], one.judge["exit_code"]
    if state == "succeeded":
        return "passed"
    return f"failed ({code})" if state == "failed" else str(state).replace("_", " ")


def _changed(one: Candidate, *, quiet: bool) -> None:
    if not quiet:
        verdict = f", judge: {_verdict(one)}" if one.judge is not None else ""
        render.note(f"candidate {one.number} {one.id} {str(one.task['state']).replace('_', ' ')}{verdict}")
