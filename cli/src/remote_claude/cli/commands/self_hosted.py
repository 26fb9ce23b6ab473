"""`rclaude init --self-hosted` and `rclaude destroy --self-hosted`: compute in a cloud account of one's own."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.self_hosted import costs, deployment
from remote_claude.cli.self_hosted.deployment import Deployment

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def init(
    self_hosted: Annotated[str, typer.Option("--self-hosted", help="The cloud: aws.")],
    gateway_url: Annotated[
        str, typer.Option(help="Where workers reach your server from the internet: wss://HOST[:PORT].")
    ],
    gateway_cidr: Annotated[
        str | None, typer.Option(help="Addresses of the server, such as 203.0.113.7/32; otherwise looked up.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Region; AWS's own configuration if left out.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of AWS's own configuration.")] = None,
    name: Annotated[str, typer.Option(help="Name of the stack and of what is in it.")] = "remote-claude",
    image: Annotated[
        str, typer.Option(help="The worker's image in ECR; otherwise the stack's own repository.")
    ] = "",
    task_hours: Annotated[
        int, typer.Option(help="Hours of tasks in a month, for the estimate.", min=0)
    ] = 100,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its cost; make nothing.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make what tasks need in your own cloud account, and let this machine's stack use it."""
    from remote_claude.cli.self_hosted import aws

    if self_hosted != "aws":
        raise CliError(f"there is no template for {self_hosted!r}; there is: aws", Exit.USAGE)
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", name):
        raise CliError("a name is 1 to 41 of a-z, 0-9 and -, a letter first", Exit.USAGE)
    port = _port(gateway_url)
    cidr = gateway_cidr or _address(gateway_url)
    account = aws.Account(region, profile)
    cost = costs.monthly(task_hours)
    plan = {
        "provider": "aws",
        "account": account.id,
        "identity": account.identity,
        "region": account.region,
        "stack": name,
        "gateway": {"url": gateway_url, "cidr": cidr, "port": port},
        "resources": aws.plan(),
        "monthly": cost,
    }
    if dry_run and as_json:
        render.emit(plan)
        return
    if not as_json:
        _show(plan)
    if dry_run:
        return
    before = deployment.load()
    if before is not None and (before.name, before.region) != (name, account.region):
        raise CliError(
            f"this home has deployed {before.name} in {before.region}: `rclaude destroy --self-hosted` removes it first",
            Exit.USAGE,
        )
    _confirm(yes, f"Make this in account {account.id}?")
    (before or Deployment("aws", name, account.region, profile)).save()
    parameters = {
        "GatewayCidr": cidr,
        "GatewayPort": str(port),
        "WorkerImage": image,
        "S3PrefixListId": account.s3_prefix_list(),
    }
    outputs = account.deploy(name, parameters, render.note)
    settings = {
        "RCLAUDE_RUNNER_PROVIDERS": "local,ecs",
        "RCLAUDE_RUNNER_GATEWAY_URL": gateway_url,
        "RCLAUDE_RUNNER_ECS_REGION": account.region,
        "RCLAUDE_RUNNER_ECS_CLUSTER": outputs["ClusterName"],
        "RCLAUDE_RUNNER_ECS_TASK_DEFINITION": outputs["TaskDefinitionFamily"],
        "RCLAUDE_RUNNER_ECS_SUBNETS": outputs["Subnets"],
        "RCLAUDE_RUNNER_ECS_SECURITY_GROUPS": outputs["SecurityGroup"],
        "RCLAUDE_RUNNER_ECS_PUBLIC_IP": "true",
        **({"RCLAUDE_RUNNER_ECS_PROFILE": profile} if profile else {}),
    }
    Deployment("aws", name, account.region, profile, settings).save()
    repository = outputs["RepositoryUri"]
    following = [
        *(
            []
            if image
            else [f"docker tag remote-claude/worker {repository}:latest", f"docker push {repository}:latest"]
        ),
        "rclaude down && rclaude up --detach",
        "rclaude run --provider ecs --agent shell 'echo hello from AWS'",
    ]
    if as_json:
        render.emit({**plan, "state": "ready", "outputs": outputs, "settings": settings, "next": following})
        return
    render.say(f"ready: {name} in {account.region}. What next:")
    for command in following:
        render.say(f"  {command}")


def destroy(
    self_hosted: Annotated[
        bool, typer.Option("--self-hosted", help="What `rclaude init --self-hosted` made.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove all that this home has made in a cloud account."""
    from remote_claude.cli.self_hosted import aws

    if not self_hosted:
        raise CliError("say what: `rclaude destroy --self-hosted`", Exit.USAGE)
    found = deployment.load()
    if found is None:
        raise CliError("this home has deployed nothing", Exit.USAGE, code="nothing_deployed")
    account = aws.Account(found.region, found.profile)
    resources = account.resources(found.name)
    if not as_json:
        render.table(("type", "name"), resources, elastic="name")
    _confirm(yes, f"Remove these {len(resources)} from account {account.id}?")
    account.destroy(found.name, render.note)
    deployment.path().unlink()
    if as_json:
        render.emit(
            {"state": "removed", "stack": found.name, "region": found.region, "resources": len(resources)}
        )
    else:
        render.say(
            f"removed: {found.name} in {found.region}. `rclaude down && rclaude up --detach` forgets its runner"
        )


def _show(plan: dict[str, Any]) -> None:
    render.say(
        f"account {plan['account']} ({plan['identity']}), region {plan['region']}, stack {plan['stack']}"
    )
    render.table(("what is made", "count"), [(type, str(count)) for type, count in plan["resources"].items()])
    cost = plan["monthly"]
    render.say(
        f"about ${cost['total_usd']:.2f} a month at list prices: ${cost['fixed_usd']:.2f} anyhow, and {cost['task_hours']} "
        f"hours of tasks with 2 vCPU and 4 GiB at ${cost['task_hour_usd']:.4f}"
    )


def _confirm(yes: bool, question: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("nobody is here to be asked: add --yes", Exit.USAGE, code="not_confirmed")
    if not typer.confirm(question, err=True):
        raise CliError("nothing was done", Exit.CANCELLED, code="not_confirmed")


def _port(url: str) -> int:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise CliError(
            f"not an address of a gateway: {url!r}; one is like wss://rclaude.example.com", Exit.USAGE
        )
    return port or (443 if parts.scheme == "wss" else 80)


def _address(url: str) -> str:
    """The gateway's address as a block. Raises `CliError` for one that can't be reached from a cloud."""
    import ipaddress
    import socket

    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise CliError(
            f"{host} has no address ({error}): correct it, or name one with --gateway-cidr", Exit.USAGE
        ) from error
    if not ipaddress.ip_address(found).is_global:
        raise CliError(
            f"{host} is {found}, which tasks in a cloud can't reach: give your server a public address or a tunnel, or "
            "name its addresses with --gateway-cidr",
            Exit.USAGE,
            code="gateway_unreachable",
        )
    return f"{found}/32"
