"""`rclaude schedule` and `rclaude trigger`: what starts tasks without a person at the command line."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from remote_claude.cli import config, render
from remote_claude.cli.arguments import checked_prompt, labels_of, nano_usd
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

TriggerForge = StrEnum("TriggerForge", ["github", "gitea", "gitlab", "bitbucket", "azure"])
HOOK = "add a webhook with this URL and secret to each repository: content type application/json, events of issues and of all comments."
HOOKS = {
    TriggerForge.azure: "add a service hook (Web Hooks) to the project: the event `Pull request commented on`, this URL, the user "
    "name rclaude, the secret as its password.",
}
"""How the webhook is made, where it is another way than on GitHub."""

schedule_app = typer.Typer(no_args_is_help=True, help="Schedules: tasks that are submitted at set times.")
trigger_app = typer.Typer(
    no_args_is_help=True, help="Triggers: comments and labels on a forge that start tasks."
)

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Agent = Annotated[str | None, typer.Option(help="claude or shell; claude unless configured.")]
Model = Annotated[str | None, typer.Option(help="Model of the agent; its own default if left out.")]
Network = Annotated[str | None, typer.Option(help="Where tasks may connect to, as with `run`.")]
Budget = Annotated[str | None, typer.Option(help="Dollars that the model of each task may cost.")]
Timeout = Annotated[int | None, typer.Option(min=1, max=86400, help="Seconds an attempt may take.")]


@schedule_app.command("create")
def create_schedule(
    cron: Annotated[str, typer.Argument(help="Five cron fields, such as '0 7 * * 1-5'.")],
    prompt: Annotated[str, typer.Argument(help="What the agent is to do each time.")],
    zone: Annotated[str, typer.Option(help="Time zone of the fields, such as Europe/Berlin.")] = "UTC",
    repo: Annotated[str | None, typer.Option(help="URL of a repository; none if left out.")] = None,
    ref: Annotated[str | None, typer.Option(help="Branch, tag or commit of the repository.")] = None,
    agent: Agent = None,
    model: Model = None,
    network: Network = None,
    budget: Budget = None,
    timeout: Timeout = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be given again.")] = None,
    pr: Annotated[bool, typer.Option("--pr", help="Open a pull request each time.")] = False,
    as_json: Json = False,
) -> None:
    """Submit a task at set times."""
    task = {"prompt": checked_prompt(prompt), **_settings(agent, model, network, budget, timeout)}
    if repo is not None:
        if "://" not in repo:
            raise CliError("--repo: a schedule needs the URL of a repository, not a folder", Exit.USAGE)
        task["repo"] = {"url": repo, **({"ref": ref} if ref else {})}
    elif ref:
        raise CliError("--ref goes with --repo", Exit.USAGE)
    if label:
        task["labels"] = labels_of(label)
    if pr:
        task["pull_request"] = {}
    made = connect().post("/v1/schedules", {"cron": cron, "zone": zone, "task": task})
    if as_json:
        render.emit(made)
    else:
        render.say(f"{made['id']}: next at {render.local_time(made['next_due'])}, local time")


@schedule_app.command("list")
def list_schedules(as_json: Json = False) -> None:
    """List the schedules of the organisation."""
    found = connect().get("/v1/schedules")
    if as_json:
        render.emit(found)
        return
    rows = [
        (
            one["id"],
            f"{one['cron']} {one['zone']}",
            render.local_time(one["next_due"]),
            f"refused: {one['last_refusal']}" if one["last_refusal"] else one["last_task"] or "-",
            str(one["missed"]),
            " ".join((one["prompt"] or "").split()),
        )
        for one in found["schedules"]
    ]
    head = ("schedule", "when", "next (local)", "last", "missed", "prompt")
    render.table(head, rows, elastic="prompt", expendable=("missed", "next (local)"))


@schedule_app.command("remove")
def remove_schedule(schedule: Annotated[str, typer.Argument(help="The schedule's id.")]) -> None:
    """Remove a schedule. Tasks that it has started go on."""
    connect().delete(f"/v1/schedules/{schedule}")
    render.say(f"{schedule} is removed")


@trigger_app.command("create")
def create_trigger(
    repo: Annotated[
        list[str],
        typer.Option(help="Repository as OWNER/NAME, on azure ORG/PROJECT/NAME; may be given again."),
    ],
    allow: Annotated[list[str], typer.Option(help="Login that may start tasks; may be given again.")],
    forge: Annotated[TriggerForge, typer.Option(help="Where the repositories are.")] = TriggerForge.github,
    command: Annotated[str, typer.Option(help="What a comment begins with.")] = "/rclaude",
    label: Annotated[str | None, typer.Option(help="Label of an issue that starts a task too.")] = None,
    agent: Agent = None,
    model: Model = None,
    network: Network = None,
    budget: Budget = None,
    timeout: Timeout = None,
    no_pr: Annotated[bool, typer.Option("--no-pr", help="Open no pull request.")] = False,
    as_json: Json = False,
) -> None:
    """Let comments and labels on a forge start tasks; prints the webhook's address and secret."""
    client = connect()
    task = {**_settings(agent, model, network, budget, timeout), "pull_request": not no_pr}
    body: dict[str, Any] = {
        "forge": str(forge),
        "allow": allow,
        "repositories": repo,
        "command": command,
        "task": task,
    }
    if label is not None:
        body["label"] = label
    made = client.post("/v1/triggers", body)
    made["url"] = client.target.url + made["path"]
    if as_json:
        render.emit(made)
        return
    render.say(f"{made['id']}\nurl: {made['url']}\nsecret: {made['secret']}")
    render.note(HOOKS.get(forge, HOOK) + " The secret is not shown again.")


@trigger_app.command("list")
def list_triggers(as_json: Json = False) -> None:
    """List the triggers of the organisation."""
    found = connect().get("/v1/triggers")
    if as_json:
        render.emit(found)
        return
    rows = [
        (
            one["id"],
            ", ".join(one["repositories"]),
            ", ".join(filter(None, (one["command"], one["label"] and f"label {one['label']}"))),
            ", ".join(one["allow"]),
            one["last_task"] or "-",
        )
        for one in found["triggers"]
    ]
    render.table(("trigger", "repositories", "starts by", "allowed", "last"), rows, elastic="allowed")


@trigger_app.command("remove")
def remove_trigger(trigger: Annotated[str, typer.Argument(help="The trigger's id.")]) -> None:
    """Remove a trigger. Tasks that it has started go on."""
    connect().delete(f"/v1/triggers/{trigger}")
    render.say(f"{trigger} is removed")


def _settings(
    agent: str | None, model: str | None, network: str | None, budget: str | None, timeout: int | None
) -> dict[str, Any]:
    """Fields of a submission that schedules and triggers share."""
    options = {"model": model, "network": network, "timeout_s": timeout}
    found: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if budget is not None:
        found["budget_nano_usd"] = nano_usd(budget)
    return {"agent": agent or config.setting("agent") or "claude", **found}
