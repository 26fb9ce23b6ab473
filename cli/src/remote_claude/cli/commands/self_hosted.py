"""`rclaude init | upgrade | destroy --self-hosted`: where the tasks of this home's stack run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from remote_claude.cli import config, release, render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity import profiles
from remote_claude.cli.self_hosted import deployment, wizard
from remote_claude.cli.self_hosted.clouds import Answers, CloudAccount, Deployed, reach
from remote_claude.cli.self_hosted.deployment import Deployment

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
SelfHosted = Annotated[bool, typer.Option("--self-hosted", help="What this home's own stack uses.")]


def init(
    cloud: Annotated[
        str, typer.Argument(help="local, docker, aws, gcp, azure, fly or kubernetes; asked for if left out.")
    ] = "",
    self_hosted: SelfHosted = False,
    gateway_url: Annotated[
        str, typer.Option(help="Where workers reach your server from the internet: wss://HOST[:PORT].")
    ] = "",
    relay_url: Annotated[
        str,
        typer.Option(help="In place of --gateway-url: a relay that your server dials: wss://HOST[:PORT]."),
    ] = "",
    gateway_cidr: Annotated[
        str, typer.Option(help="Addresses of the server, such as 203.0.113.7/32; otherwise looked up.")
    ] = "",
    region: Annotated[str, typer.Option(help="Region; the cloud's own configuration if left out.")] = "",
    account: Annotated[
        str,
        typer.Option(
            "--account",
            "--profile",
            help="AWS: a profile; gcp: a project; azure: a subscription; fly: an organisation; kubernetes: a context.",
        ),
    ] = "",
    name: Annotated[str, typer.Option(help="Name of what is made.")] = "remote-claude",
    image: Annotated[
        str, typer.Option(help="The worker's image; otherwise one that you push afterwards.")
    ] = "",
    budget: Annotated[
        int, typer.Option(help="Dollars a month that it may cost, for the estimate.", min=0)
    ] = 0,
    task_hours: Annotated[
        int, typer.Option(help="Hours of tasks in a month, for the estimate.", min=0)
    ] = 100,
    test_task: Annotated[
        bool, typer.Option("--test-task", help="Start the stack again at the end, and run a small task.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its cost; make nothing.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Choose where tasks run, make what they need there, and let this machine's stack use it."""
    _must(self_hosted, "init")
    before = deployment.load()
    if gateway_url and relay_url:
        raise CliError("--gateway-url and --relay-url: give one of them", Exit.USAGE)
    given = Answers(
        cloud,
        name,
        account,
        region,
        gateway_url or relay_url,
        gateway_cidr,
        443,
        image,
        bool(relay_url),
        budget,
    )
    if before is not None and not before.settings and given == replace(Answers(""), name=name, budget=budget):
        render.note(f"going on with {before.answers.name} in {before.answers.cloud}, which was interrupted")
        given = before.answers
    chosen = reach(wizard.ask(given))
    answers = chosen.answers
    if before is not None and _place(before.answers) != _place(answers):
        raise CliError(
            f"this home uses {before.answers.name} in {before.answers.cloud} {before.answers.region}: `rclaude destroy "
            "--self-hosted` removes it first",
            Exit.USAGE,
        )
    plan = _plan(chosen, wizard.monthly(chosen.prices, task_hours, budget))
    if not as_json:
        _show(plan)
    if failed := [check for check in plan["checks"] if check["level"] == "failed"]:
        raise CliError(
            "; ".join(f"{check['name']}: {check['detail']}" for check in failed),
            Exit.REFUSED,
            code="checks_failed",
        )
    if dry_run:
        if as_json:
            render.emit(plan)
        return
    wizard.confirm(yes, f"Make this in {chosen.identity}?")
    done = _deploy(chosen, before)
    result = _test_task(done) if test_task else None
    following = [*done.steps, *([] if test_task else _commands(done))]
    if as_json:
        extra = {
            "outputs": done.outputs or {},
            "settings": done.settings,
            "next": following,
            "test_task": result,
        }
        render.emit({**plan, "state": "ready", **extra})
        return
    if result is not None:
        render.say(f"test task: {result['state']}")
    render.say(f"ready: {answers.name} in {answers.cloud} {answers.region}".rstrip() + ". What next:")
    for command in following or _commands(done)[1:]:
        render.say(f"  {command}")


def upgrade(self_hosted: SelfHosted = False, yes: Yes = False, as_json: Json = False) -> None:
    """Bring what this home has made in a cloud up to the templates of this release."""
    _must(self_hosted, "upgrade")
    before = _there()
    chosen = reach(before.answers)
    if not as_json:
        render.say(
            f"{before.answers.name} in {chosen.identity}: from release {before.release or 'unknown'} to {release()}"
        )
    wizard.confirm(yes, "Bring it up to date?")
    done = _deploy(chosen, before)
    if as_json:
        render.emit({"state": "ready", "from": before.release, "to": release(), "settings": done.settings})
    else:
        render.say("up to date. `rclaude down && rclaude up --detach` takes its settings over")


def destroy(self_hosted: SelfHosted = False, yes: Yes = False, as_json: Json = False) -> None:
    """Remove all that this home has made in a cloud account."""
    _must(self_hosted, "destroy")
    before = _there()
    chosen, answers = reach(before.answers), before.answers
    resources = chosen.resources()
    if not as_json:
        render.table(("type", "name"), resources, elastic="name")
    wizard.confirm(yes, f"Remove these {len(resources)} from {chosen.identity}?")
    chosen.destroy(render.note)
    deployment.path().unlink()
    if as_json:
        render.emit(
            {"state": "removed", "stack": answers.name, "region": answers.region, "resources": len(resources)}
        )
    else:
        render.say(
            f"removed: {answers.name}. Tasks, events and bills stay in this home. `rclaude down && rclaude up --detach` "
            "forgets its runner"
        )


def _must(self_hosted: bool, command: str) -> None:
    if not self_hosted:
        raise CliError(f"say what: `rclaude {command} --self-hosted`", Exit.USAGE)


def _there() -> Deployment:
    found = deployment.load()
    if found is None:
        raise CliError("this home has deployed nothing", Exit.USAGE, code="nothing_deployed")
    return found


def _place(answers: Answers) -> tuple[str, str, str]:
    return answers.cloud, answers.name, answers.region


def _plan(chosen: CloudAccount, cost: dict[str, float]) -> dict[str, Any]:
    answers = chosen.answers
    return {
        "provider": answers.cloud,
        "account": chosen.account,
        "identity": chosen.identity,
        "region": answers.region,
        "stack": answers.name,
        "gateway": {"url": answers.gateway_url, "cidr": answers.gateway_cidr, "port": answers.gateway_port},
        "checks": [asdict(check) for check in chosen.checks()],
        "resources": chosen.plan(),
        "monthly": cost,
    }


def _deploy(chosen: CloudAccount, before: Deployment | None) -> Deployed:
    """Written down before anything is made, and again with what the runner needs."""
    Deployment(chosen.answers, before.settings if before else {}, before.release if before else "").save()
    done = chosen.deploy(render.note)
    if chosen.answers.relay:
        settings = {
            name.replace("_GATEWAY_URL", "_RELAY_URL"): value for name, value in done.settings.items()
        }
        following = 'export RCLAUDE_RUNNER_RELAY_TOKEN="..."  # that of the relay'
        done = replace(done, settings=settings, steps=(*done.steps, following))
    Deployment(chosen.answers, done.settings, release()).save()
    known, current = profiles.load()
    if current is not None:
        profiles.save(known, None)
        render.note(
            f"the profile local is in use now: tasks go to this home's stack; `rclaude profile use {current}` goes back"
        )
    return done


def _commands(done: Deployed) -> list[str]:
    return [
        "rclaude down && rclaude up --detach",
        f"rclaude run --provider {done.provider} --agent shell 'echo hello'",
    ]


def _test_task(done: Deployed) -> dict[str, Any]:
    """The stack with its new settings at the port that it has, and a small task there. Raises `CliError` unless it succeeds."""
    running = config.stack_file()
    port = ("--port", str(urlsplit(running["url"]).port)) if running is not None else ()
    for step in (("down",), ("up", "--detach", *port)):
        subprocess.run([sys.argv[0], *step], check=True, stdout=sys.stderr)
    command = ("run", "--provider", done.provider, "--agent", "shell", "--no-repo", "--json", "echo hello")
    said = subprocess.run([sys.argv[0], *command], check=False, stdout=subprocess.PIPE, text=True)
    task = json.loads(said.stdout)
    if said.returncode:
        raise CliError(f"the test task did not succeed: {task}", code="test_task_failed")
    return {"id": task["id"], "state": task["state"]}


def _show(plan: dict[str, Any]) -> None:
    render.say(f"{plan['identity']}" + (f", region {plan['region']}" if plan["region"] else ""))
    render.table(
        ("check", "", "found"),
        [(c["name"], c["level"], c["detail"]) for c in plan["checks"]],
        elastic="found",
    )
    if plan["resources"]:
        render.table(
            ("what is made", "count"), [(type, str(count)) for type, count in plan["resources"].items()]
        )
    cost = plan["monthly"]
    if not cost["total_usd"]:
        render.say("nothing is made that costs: tasks use machines that you have")
        return
    render.say(
        f"about ${cost['total_usd']:.2f} a month at list prices: ${cost['fixed_usd']:.2f} anyhow, and {cost['task_hours']} "
        f"hours of tasks with 2 vCPU and 4 GiB at ${cost['task_hour_usd']:.4f}"
    )
