"""Commands about organisations, their members, and API keys."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.policy import policy_app
from remote_claude.cli.commands.signing_key import signing_key_app
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.commands.teams import team_app, team_id
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity import local_orgs, profiles
from remote_claude.cli.session import client_of, connect
from remote_claude.client import operations

org_app = typer.Typer(no_args_is_help=True, help="Organisations: list, switch, create, members.")
member_app = typer.Typer(no_args_is_help=True, help="Members of the organisation.")
account_app = typer.Typer(no_args_is_help=True, help="Service accounts: API keys that belong to no person.")
key_app = typer.Typer(no_args_is_help=True, help="API keys of the organisation.")
org_app.add_typer(member_app, name="member")
org_app.add_typer(policy_app, name="policy")
org_app.add_typer(team_app, name="team")
org_app.add_typer(signing_key_app, name="signing-key")


class Role(StrEnum):
    """What a member may do."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    BILLING = "billing"


@org_app.command("list")
def list_orgs(as_json: Json = False) -> None:
    """Show the organisations that you are in."""
    client = connect()
    orgs, used = client.get("/v1/orgs")["orgs"], client.get("/v1/session")["org"]
    if as_json:
        render.emit(orgs)
        return
    rows = [(o["id"], o["name"] or "-", o["role"], "yes" if o["id"] == used else "") for o in orgs]
    render.table(("organisation", "name", "role", "used"), rows, elastic="name")


@org_app.command()
def switch(org: Annotated[str, typer.Argument(help="Its id or its name.")]) -> None:
    """Act for an organisation from now on."""
    used, client = profiles.selected(), connect()
    if used is None and not client.target.supervised:
        raise CliError(
            f"an API key acts for one organisation: sign in with `rclaude login {client.target.url}`",
            Exit.USAGE,
        )
    if used is None:
        client = client_of(local_orgs.of_the_owner(client.target))
    found = [o for o in client.get("/v1/orgs")["orgs"] if org in (o["id"], o["name"])]
    if len(found) != 1:
        why = (
            "several organisations have this name: take the id"
            if found
            else "you are in no such organisation"
        )
        raise CliError(f"{org}: {why}. `rclaude org list` shows yours", Exit.USAGE)
    if used is None:
        local_orgs.act_for(client, found[0]["id"])
    else:
        known, current = profiles.load()
        profiles.save({**known, used.name: replace(used, org=found[0]["id"])}, current)
    render.say(f"acting for {found[0]['name'] or found[0]['id']}")


@org_app.command()
def create(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Create an organisation, with you as its owner."""
    render.say(connect().post("/v1/orgs", {"name": name})["id"])


@org_app.command()
def rename(name: Annotated[str, typer.Argument(help="Its new name.")]) -> None:
    """Give the organisation that you act for another name."""
    org = connect().call(operations.rename_org({"name": name}))["id"]
    render.say(f"{org} is called {name}")


@org_app.command()
def leave() -> None:
    """Leave the organisation that you act for."""
    left = connect().post("/v1/org/leave")["id"]
    _act_for_no_more(left)
    render.say(f"left {left}")


@org_app.command()
def transfer(user: Annotated[str, typer.Argument(help="The new owner's id, user_...")]) -> None:
    """Make another member the owner; you become an admin."""
    connect().post("/v1/org/transfer", {"user": user})
    render.say(f"{user} owns the organisation; you are an admin of it")


@org_app.command()
def delete(
    org: Annotated[str, typer.Argument(help="The id of the organisation that you act for, to be sure.")],
) -> None:
    """Delete the organisation. For thirty days `rclaude org restore` brings it back."""
    client = connect()
    used = client.get("/v1/session")["org"]
    if org != used:
        raise CliError(f"you act for {used}, not for {org}: `rclaude org switch` first", Exit.USAGE)
    client.delete("/v1/org")
    _act_for_no_more(org)
    render.say(f"{org} is deleted; `rclaude org restore {org}` brings it back for thirty days")


def _act_for_no_more(org: str) -> None:
    """Act for the first of the other organisations from now on."""
    if (used := profiles.selected()) is None:
        local_orgs.forget(org)
    elif used.org == org:
        known, current = profiles.load()
        profiles.save({**known, used.name: replace(used, org=None)}, current)


@org_app.command()
def restore(org: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Bring back an organisation that was deleted."""
    render.say(f"{connect().post(f'/v1/orgs/{org}/restore')['id']} is back")


@org_app.command()
def join(link: Annotated[str, typer.Argument(help="The link of the invitation, or its token.")]) -> None:
    """Accept an invitation."""
    token = link.rpartition("token=")[2]
    render.say(f"joined {connect().post('/v1/invitations/accept', {'token': token})['id']}")


@member_app.command("list")
def list_members(as_json: Json = False) -> None:
    """Show the members, and who is invited."""
    found = connect().get("/v1/org/members")
    if as_json:
        render.emit(found)
        return
    rows = [(m["user"], m["name"] or "-", m["email"] or "-", m["role"]) for m in found["members"]]
    rows += [(i["id"], "(invited)", i["email"] or "-", i["role"]) for i in found["invitations"]]
    render.table(("member", "name", "e-mail", "role"), rows, elastic="name")


@member_app.command()
def invite(
    email: Annotated[
        str | None, typer.Argument(help="Their e-mail address; the link is mailed if the server can.")
    ] = None,
    role: Annotated[Role, typer.Option(help="What they may do.")] = Role.MEMBER,
) -> None:
    """Invite a person: prints a link that is good once and for seven days."""
    body: dict[str, Any] = {"role": role.value, **({"email": email} if email else {})}
    _invited(connect().post("/v1/org/invitations", body), email is not None)


@member_app.command("resend")
def send_again(invitation: Annotated[str, typer.Argument(help="Its id, invitation_...")]) -> None:
    """Send an invitation again: prints a new link, and ends the one before it."""
    _invited(connect().post(f"/v1/org/invitations/{invitation}/send"), True)


def _invited(invitation: dict[str, Any], to_mail: bool) -> None:
    render.say(invitation["url"])
    if invitation["mailed"]:
        render.note("the link was mailed to them")
    elif to_mail:
        render.note("no mail was sent: give them the link yourself")


@member_app.command("role")
def change_role(
    user: Annotated[str, typer.Argument(help="The member's id, user_...")],
    role: Annotated[Role, typer.Argument(help="The new role.")],
) -> None:
    """Give a member another role."""
    connect().put(f"/v1/org/members/{user}/role", {"role": role.value})
    render.say(f"{user} is {role.value}")


@member_app.command()
def remove(user: Annotated[str, typer.Argument(help="The id of a member or an invitation.")]) -> None:
    """Remove a member, or revoke an invitation."""
    kind = "invitations" if user.startswith("invitation_") else "members"
    connect().delete(f"/v1/org/{kind}/{user}")
    render.say(f"{user} is removed")


@account_app.command("create")
def create_account(name: Annotated[str, typer.Argument(help="What it is for, such as CI.")]) -> None:
    """Create a service account and print its id. `rclaude key create --service-account` makes it a key."""
    render.say(connect().post("/v1/org/service-accounts", {"name": name})["id"])


@account_app.command("list")
def list_accounts(as_json: Json = False) -> None:
    """Show the service accounts of the organisation."""
    found = connect().get("/v1/org/service-accounts")["service_accounts"]
    if as_json:
        render.emit(found)
        return
    rows = [(a["id"], a["name"] or "-", a["created_at"]) for a in found]
    render.table(("service account", "name", "created"), rows, elastic="name")


@account_app.command("remove")
def remove_account(account: Annotated[str, typer.Argument(help="Its id, sa_...")]) -> None:
    """Remove a service account; its API keys are refused from now on."""
    connect().delete(f"/v1/org/service-accounts/{account}")
    render.say(f"{account} is removed")


@key_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="What it may be used for; may be given again. By default all of yours."),
    ] = None,
    days: Annotated[int | None, typer.Option("--expires-in-days", min=1, max=3650)] = None,
    service_account: Annotated[
        str | None, typer.Option(help="The service account that it belongs to, sa_...; by default you.")
    ] = None,
    team: Annotated[str | None, typer.Option(help="The team that it belongs to, its name or id.")] = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print it: the only time that it is shown."""
    client = connect()
    body = {"name": name, "scopes": scope, "expires_in_days": days, "service_account": service_account}
    if team is not None:
        body["team"] = team_id(client, team)
    made = client.post("/v1/keys", {key: value for key, value in body.items() if value})
    if as_json:
        render.emit(made)
    else:
        render.say(made["secret"])


@key_app.command("list")
def list_keys(as_json: Json = False) -> None:
    """Show the keys that are good."""
    keys = connect().get("/v1/keys")["keys"]
    if as_json:
        render.emit(keys)
        return
    rows = [
        (
            k["id"],
            k["name"] or "-",
            k["prefix"] + "…",
            " ".join(k["scopes"]),
            (k["used_at"] or "never")[:16],
            k["expires_at"] or "never",
        )
        for k in keys
    ]
    render.table(("key", "name", "begins with", "scopes", "last used", "expires"), rows, elastic="name")


@key_app.command("revoke")
def revoke_key(key: Annotated[str, typer.Argument(help="Its id, key_...")]) -> None:
    """Refuse a key from now on, everywhere."""
    connect().delete(f"/v1/keys/{key}")
    render.say(f"{key} is revoked")
