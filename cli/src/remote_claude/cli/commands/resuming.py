"""`rclaude resume`, and what else goes on with a task that has ended: a new task, with the same files and conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli.arguments import checked_prompt, nano_usd
from remote_claude.cli.commands.submission import conduct
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect, task_and_text, task_id

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient

GO_ON = "Go on with the task from where you stopped."
FIX = "Address the review comments, and make the failing checks pass."
CONTINUED = (
    "agent",
    "model",
    "permission_mode",
    "provider",
    "image",
    "network",
    "secrets",
    "patch_only",
    "priority",
    "max_attempts",
    "timeout_s",
)
"""Fields of a submission that a task which continues it has too."""


def continuation(client: CliClient, task: str, prompt: str | None) -> dict[str, Any]:
    """The submission that goes on with a task that has ended; without a prompt, where it stopped."""
    events = client.get(f"/v1/tasks/{task}/events", limit=200)["events"]
    before = next(event["data"] for event in events if event["type"] == "TaskSubmitted")
    saved = any(event["type"] == "CheckpointSaved" for event in events)
    if prompt is None:
        restores = saved and before["agent"] != "shell"
        prompt = GO_ON if restores else client.get(f"/v1/tasks/{task}")["prompt"]
    body = {name: before[name] for name in CONTINUED if before.get(name)}
    if before.get("pull_request"):
        body["pull_request"] = {}  # the one that is open is found again
    return body | {"prompt": checked_prompt(str(prompt)), "continues": task}


def fix_pull_request(
    client: CliClient, target: str | None, prompt: str | None, *, detach: bool, as_json: bool
) -> None:
    """Let the agent of a pull request work on its review comments and failing checks: a task on the same branch."""
    if target is None:
        raise CliError("name the pull request: `rclaude pr fix URL`", Exit.USAGE)
    if "://" in target:
        found = client.get("/v1/tasks", pull_request=target, limit=1)["tasks"]
        if not found:
            raise CliError(f"no task here has opened the pull request {target}", Exit.USAGE)
        target = found[0]["id"]
    body = continuation(client, task_id(target, client), prompt or FIX)
    conduct(client, {**body, "pull_request": {}, "feedback": True}, detach=detach, as_json=as_json)


def resume(
    task: Annotated[
        str | None, typer.Argument(help="The task's id, ended; the newest one if left out.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Argument(help="What its agent is to do next; without it, to go on where it stopped."),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Dollars that the model may cost from here on.")] = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, max=86400, help="Seconds an attempt may take.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another model than before.")] = None,
    provider: Annotated[str | None, typer.Option(help="Where its sandbox runs.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return as soon as the task is admitted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Go on with a task that has ended, as a new task: the same files, the same conversation."""
    client = connect()
    named, prompt = task_and_text(task, prompt)
    id = task_id(named, client)
    body = continuation(client, id, prompt)
    options = {"timeout_s": timeout, "model": model, "provider": provider}
    body |= {name: value for name, value in options.items() if value is not None}
    if budget is not None:
        body["budget_nano_usd"] = nano_usd(budget)
    conduct(client, body, detach=detach, as_json=as_json)
