"""`rclaude org team`: named groups of members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import render
from remote_claude.cli.arguments import labels_of
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient

team_app = typer.Typer(no_args_is_help=True, help="Teams: create, list, add, remove, labels, delete.")

Team = Annotated[str, typer.Argument(help="Its name or its id.")]
Member = Annotated[str, typer.Argument(help="The member's id, user_...")]


def team_id(client: CliClient, team: str) -> str:
    """The id of a team that is named, or the id as it is."""
    if team.startswith("team_"):
        return team
    found: list[str] = [one["id"] for one in client.get("/v1/org/teams")["teams"] if one["name"] == team]
    if len(found) != 1:
        why = "several teams have this name: take the id" if found else "the organisation has no such team"
        raise CliError(f"{team}: {why}. `rclaude org team list` shows them", Exit.USAGE)
    return found[0]


@team_app.command("create")
def create_team(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Create a team and print its id. Nobody is in it yet."""
    render.say(connect().post("/v1/org/teams", {"name": name})["id"])


@team_app.command("list")
def list_teams(as_json: Json = False) -> None:
    """Show the teams, who is in each, and what each owns."""
    teams = connect().get("/v1/org/teams")["teams"]
    if as_json:
        render.emit(teams)
        return
    rows = [
        (
            team["id"],
            team["name"] or "-",
            ", ".join(m["name"] or m["user"] for m in team["members"]) or "-",
            " ".join(f"{name}={value}" for name, value in team["labels"].items()) or "-",
            "-" if team["budget_nano_usd"] is None else render.money(team["budget_nano_usd"]),
        )
        for team in teams
    ]
    render.table(("team", "name", "members", "labels", "budget"), rows, elastic="members")


@team_app.command("add")
def add_to_team(team: Team, user: Member) -> None:
    """Add a member of the organisation to a team."""
    client = connect()
    client.put(f"/v1/org/teams/{team_id(client, team)}/members/{user}", {})
    render.say(f"{user} is in {team}")


@team_app.command("remove")
def remove_from_team(team: Team, user: Member) -> None:
    """Remove a member from a team; they stay in the organisation."""
    client = connect()
    client.delete(f"/v1/org/teams/{team_id(client, team)}/members/{user}")
    render.say(f"{user} is no longer in {team}")


@team_app.command("labels")
def set_labels(
    team: Team,
    label: Annotated[list[str] | None, typer.Argument(help="NAME=VALUE; none clears them.")] = None,
) -> None:
    """Set the labels that every task of a team bears, and no other task may."""
    client = connect()
    body: dict[str, Any] = {"labels": labels_of(label or [])}
    client.put(f"/v1/org/teams/{team_id(client, team)}/labels", body)
    render.say(f"the labels of {team} are set; tasks that are submitted from now on bear them")


@team_app.command("delete")
def delete_team(team: Team) -> None:
    """Delete a team; its API keys are refused from now on. Its tasks stay."""
    client = connect()
    client.delete(f"/v1/org/teams/{team_id(client, team)}")
    render.say(f"{team} is deleted")
