"""The questions of `rclaude init --self-hosted`, and what is worked out from the answers."""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
from dataclasses import replace
from urllib.parse import urlsplit

import typer

from remote_claude.cli import render
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.self_hosted.clouds import CLOUDS, Answers, Prices

ON_THIS_MACHINE = ("local", "docker")
REGIONS = {"gcp": "europe-west1", "azure": "westeurope"}
ACCOUNTS = {"gcp": "Project id", "azure": "Subscription id"}
REACHABILITY = (
    "Tasks in a cloud dial your server, so it needs an address that they reach from there: a public name, or that of a tunnel "
    "to this machine (--gateway-url). A laptop has neither: let workers meet it at a relay (`rclaude relay` on a small machine "
    "with a public name; --relay-url), run the server elsewhere, or choose local or docker."
)


def is_attended() -> bool:
    """Whether a person is at the terminal."""
    return sys.stdin.isatty()


def ask(given: Answers) -> Answers:
    """The answers with what is missing asked for on a terminal. Raises `CliError` for what can't be."""
    answers = given
    if is_attended():
        answers = _asked(answers)
    if not answers.cloud:
        raise CliError(f"name the cloud: {', '.join(CLOUDS)}", Exit.USAGE)
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,22}", answers.name):
        raise CliError("a name is 1 to 23 of a-z, 0-9 and -, a letter first", Exit.USAGE)
    if answers.cloud not in CLOUDS or answers.cloud in ON_THIS_MACHINE:
        return answers
    if not answers.gateway_url:
        raise CliError(f"no --gateway-url is given. {REACHABILITY}", Exit.USAGE)
    port = gateway_port(answers.gateway_url)
    return replace(
        answers, gateway_port=port, gateway_cidr=answers.gateway_cidr or gateway_address(answers.gateway_url)
    )


def _asked(answers: Answers) -> Answers:
    if not answers.cloud:
        render.note("Where should tasks run?")
        for name, (_, _, what) in CLOUDS.items():
            render.note(f"  {name:<12}{what}")
        answers = replace(answers, cloud=_choice("Cloud", tuple(CLOUDS), "local"))
    cloud = answers.cloud
    if cloud in ACCOUNTS and not answers.account:
        answers = replace(answers, account=_text(ACCOUNTS[cloud]))
    if cloud in REGIONS and not answers.region:
        answers = replace(answers, region=_text("Region", REGIONS[cloud]))
    if cloud == "azure" and not answers.image:
        answers = replace(answers, image=_text("The worker's image, in a registry that Azure can pull from"))
    if cloud not in ON_THIS_MACHINE and not answers.gateway_url:
        render.note(REACHABILITY)
        relay = _choice("Do workers reach your server, or a relay", ("server", "relay"), "server") == "relay"
        answers = replace(
            answers,
            gateway_url=_text(f"Address of your {'relay' if relay else 'server'} (wss://HOST)"),
            relay=relay,
        )
    return answers


def _choice(question: str, known: tuple[str, ...], default: str) -> str:
    while (said := _text(question, default)) not in known:
        render.note(f"one of: {', '.join(known)}")
    return said


def _text(question: str, default: str | None = None) -> str:
    return str(typer.prompt(question, default=default, err=True)).strip()


def confirm(yes: bool, question: str) -> None:
    """Raises `CliError` unless the user agrees."""
    if yes:
        return
    if not is_attended():
        raise CliError("there is no terminal to confirm on: add --yes", Exit.USAGE, code="not_confirmed")
    if not typer.confirm(question, err=True):
        raise CliError("nothing was done", Exit.CANCELLED, code="not_confirmed")


def monthly(prices: Prices, task_hours: int, budget: int) -> dict[str, float]:
    """Dollars a month at list prices, for so many hours of tasks with 2 vCPU and 4 GiB, or as many as the budget is for.

    Raises `CliError` where what is there anyhow costs more than the budget.
    """
    hours = task_hours
    if budget:
        if prices.fixed > budget:
            raise CliError(
                f"about ${prices.fixed:.2f} a month are due before any task runs, more than the budget of ${budget}",
                Exit.REFUSED,
                code="over_budget",
            )
        if prices.task_hour:
            hours = int((budget - prices.fixed) / prices.task_hour)
    return {
        "fixed_usd": round(prices.fixed, 2),
        "task_hour_usd": round(prices.task_hour, 4),
        "task_hours": hours,
        "total_usd": round(prices.fixed + hours * prices.task_hour, 2),
    }


def gateway_port(url: str) -> int:
    """The port of a gateway. Raises `CliError` for what is no address of one."""
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


def gateway_address(url: str) -> str:
    """The gateway's address as a block. Raises `CliError` for one that can't be reached from a cloud."""
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
