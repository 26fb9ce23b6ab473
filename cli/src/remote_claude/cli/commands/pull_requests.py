"""The command `pr`, and waiting for the pull request of a task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import render
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect, task_id

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient

PULL_REQUEST_S = 60.0
"""How long a command waits for a pull request. The service goes on trying after that."""
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def await_pull_request(client: CliClient, task: str, position: int | None = None) -> dict[str, Any] | None:
    """The pull request of a task that has ended, once it is opened or has failed; None where none was asked for."""
    shown = client.get(f"/v1/tasks/{task}", min_position=position)
    if _settled(shown):
        return _pull_request(shown)
    with render.ProgressLine(f"opening the pull request of {task}"):
        late = time.monotonic() + PULL_REQUEST_S
        while not _settled(shown) and (left := late - time.monotonic()) > 0:
            shown = client.next_change(shown, left)
    return _pull_request(shown)


def _pull_request(task: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = task["pull_request"]
    return found


def _settled(task: dict[str, Any]) -> bool:
    found = _pull_request(task)
    return found is None or found["state"] != "requested" or task["state"] != "succeeded"


def pr(
    task: Annotated[
        str | None, typer.Argument(help="The task's id; the newest one if left out. Or `fix`.")
    ] = None,
    target: Annotated[
        str | None, typer.Argument(help="After `fix`: the pull request's URL, or a task that has opened it.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Argument(help="After `fix`: what the agent is to do; what reviews ask for if left out."),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="With `fix`: return as soon as the task is admitted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Open the pull request of a task, or try again; `pr fix URL` lets the agent work on its review and checks."""
    client = connect()
    if task == "fix":
        from remote_claude.cli.commands.resuming import fix_pull_request

        fix_pull_request(client, target, prompt, detach=detach, as_json=as_json)
        return
    if target is not None:
        raise CliError("what follows the task is not understood: `rclaude pr fix URL`", Exit.USAGE)
    id = task_id(task, client)
    answer = client.post(f"/v1/tasks/{id}/pull-request")
    found = answer["pull_request"] or await_pull_request(client, id, answer["position"])
    if as_json:
        render.emit({"id": id, "pull_request": found})
    elif found is not None and found["state"] == "opened":
        render.say(render.pull_request(found))
    if found is None or found["state"] != "opened":
        why = render.pull_request(found) if found else "none"
        if found is not None and found["state"] == "requested":
            why = f"not yet: the forge does not answer; `rclaude show {id}` says how far it is"
        raise CliError(
            f"pull request: {why}", Exit.FAILED, code=(found or {}).get("reason") or "pull_request"
        )
