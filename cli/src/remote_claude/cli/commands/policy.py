"""Commands about what an organisation allows and spends."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.commands.teams import team_id
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

policy_app = typer.Typer(no_args_is_help=True, help="What the organisation allows the tasks of its members.")
budget_app = typer.Typer(no_args_is_help=True, help="What models may cost in a month: show, set.")

LISTS = ("agents", "models", "providers", "images", "hosts", "network")
ANY = "any"
"""As the value of a rule: no limit."""


class Visibility(StrEnum):
    """Which tasks a member sees."""

    OWN = "own"
    TEAM = "team"
    ORGANISATION = "organisation"


def _dollars(text: str) -> int:
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise CliError(f"{text}: needs an amount of dollars, such as 50 or 2.50", Exit.USAGE)
    return int(amount * render.NANO)


@policy_app.command("show")
def show_policy(as_json: Json = False) -> None:
    """Show what the organisation allows."""
    rules = connect().get("/v1/org/policy")
    if as_json:
        render.emit(rules)
        return
    rows = [(name, ", ".join(rules[name]) or ("-" if name == "network" else ANY)) for name in LISTS]
    rows.append(("default provider", rules["default_provider"] or "-"))
    limit = rules["max_budget_nano_usd"]
    rows.append(("max budget", ANY if limit is None else render.money(limit)))
    rows.append(("task visibility", rules["task_visibility"]))
    render.table(("rule", "allowed"), rows, elastic="allowed")


Rule = Annotated[str | None, typer.Option(help="With commas between them; `any` lifts the rule.")]


@policy_app.command("set")
def set_policy(
    agents: Rule = None,
    models: Rule = None,
    providers: Rule = None,
    images: Rule = None,
    hosts: Rule = None,
    network: Annotated[
        str | None, typer.Option(help="Hosts that join the default network list; `any` for none.")
    ] = None,
    default_provider: Annotated[
        str | None, typer.Option(help="Of tasks that name no provider; `any` for none.")
    ] = None,
    max_budget: Annotated[
        str | None, typer.Option(help="The greatest --budget of a task, in dollars; `any` for none.")
    ] = None,
    task_visibility: Annotated[
        Visibility | None,
        typer.Option(help="Which tasks a member sees: own, those of the team too, or the organisation's."),
    ] = None,
) -> None:
    """Change rules; those that are not named stay as they are."""
    given: dict[str, Any] = {
        name: None if value == ANY else value
        for name, value in (("default_provider", default_provider), ("max_budget_nano_usd", max_budget))
        if value is not None
    }
    if isinstance(amount := given.get("max_budget_nano_usd"), str):
        given["max_budget_nano_usd"] = _dollars(amount)
    lists = (agents, models, providers, images, hosts, network)
    given |= {
        name: [] if value == ANY else [item.strip() for item in value.split(",")]
        for name, value in zip(LISTS, lists, strict=True)
        if value is not None
    }
    if task_visibility is not None:
        given["task_visibility"] = task_visibility.value
    if not given:
        raise CliError("name a rule, such as --agents claude,shell", Exit.USAGE)
    client = connect()
    client.put("/v1/org/policy", {**client.get("/v1/org/policy"), **given})
    render.say("the policy is set; it holds for tasks that are submitted from now on")


@budget_app.command("set")
def set_budget(
    amount: Annotated[str, typer.Argument(help="Dollars a month; `any` lifts the limit.")],
    member: Annotated[
        str | None, typer.Option(help="One member, user_...; by default the organisation.")
    ] = None,
    team: Annotated[str | None, typer.Option(help="One team, its name or id.")] = None,
) -> None:
    """Set what models may cost in a month, for the organisation, one team or one member."""
    if member and team:
        raise CliError("choose one of --member and --team", Exit.USAGE)
    client = connect()
    path = f"/v1/org/members/{member}/budget" if member else "/v1/org/budget"
    if team:
        path = f"/v1/org/teams/{team_id(client, team)}/budget"
    client.put(path, {"nano_usd": None if amount == ANY else _dollars(amount)})
    whose = member or team or "the organisation"
    render.say(
        f"{whose} has no budget"
        if amount == ANY
        else f"{whose} may spend {render.money(_dollars(amount))} a month"
    )


@budget_app.command("show")
def show_budget(as_json: Json = False) -> None:
    """Show what models have cost this month, of the organisation, your team and you, and the budgets."""
    month = connect().get("/v1/usage/budget")
    if as_json:
        render.emit(month)
        return
    rows = []
    for whose, name in (("organisation", "the organisation"), ("team", "your team"), ("person", "you")):
        if month[whose] is None:
            continue
        spent, limit = month[whose]["spent_nano_usd"], month[whose]["limit_nano_usd"]
        rows.append((name, render.money(spent), "-" if limit is None else render.money(limit)))
    render.say(f"{month['period']}, until {month['ends_at'][:10]}")
    render.table(("of", "spent", "budget"), rows)
