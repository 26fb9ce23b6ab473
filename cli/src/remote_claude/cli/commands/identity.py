"""Commands about who one is: login, logout, whoami, and profiles."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from remote_claude.cli import config, render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.config import Target
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity import profiles, sign_in, tokens
from remote_claude.cli.identity.profiles import LOCAL, Profile
from remote_claude.cli.identity.tokens import StoredTokens
from remote_claude.cli.session import client_of, connect

profile_app = typer.Typer(no_args_is_help=True, help="The servers that you are signed in at.")


def login(
    url: Annotated[
        str | None, typer.Argument(help="Address of the server, such as https://rclaude.example.com.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="What to call the server here; by default `default`.")
    ] = None,
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Take an API key from standard input.")
    ] = False,
    github_token: Annotated[
        bool,
        typer.Option("--github-token", help="Use the GitHub token in GITHUB_TOKEN, or from standard input."),
    ] = False,
    device: Annotated[
        bool, typer.Option("--device", help="Show a code, to be confirmed in a browser on another machine.")
    ] = False,
) -> None:
    """Sign in at a server. The following commands use it."""
    known, _ = profiles.load()
    name = profiles.check_name(profile or os.environ.get("RCLAUDE_PROFILE") or "default")
    address = url or (known[name].url if name in known else config.setting("url"))
    if not address:
        raise CliError("name the server: `rclaude login https://rclaude.example.com`", Exit.USAGE)
    config.check("url", address)
    address = address.rstrip("/")
    if with_key:
        key = _from_standard_input("the API key")
        config.check("api_key", key)
        got = StoredTokens(api_key=key)
    elif github_token:
        got = sign_in.by_github_token(
            address, os.environ.get("GITHUB_TOKEN") or _from_standard_input("the GitHub token")
        )
    elif device or not sign_in.has_browser():
        got = sign_in.by_device(address)
    else:
        got = sign_in.by_browser(address)
    made = Profile(name=name, url=address, store=tokens.store())
    tokens.keep(made, got)
    who = client_of(Target(address, "", profile=made)).get("/v1/session")
    profiles.save({**known, name: replace(made, org=who["org"])}, name)
    render.say(f"signed in at {address} as {who['user']}, acting for {who['org']} (profile {name})")


def logout(
    profile: Annotated[str | None, typer.Option(help="The profile; by default the one in use.")] = None,
) -> None:
    """Sign out: end the session on the server, and forget its tokens here."""
    if profile:
        os.environ["RCLAUDE_PROFILE"] = profile
    found = profiles.selected()
    if found is None:
        raise CliError("you are not signed in: the embedded stack needs no sign-in", Exit.USAGE)
    try:
        client_of(Target(found.url, "", profile=found)).delete("/v1/session")
    except CliError as error:  # a key has no session, and a session may have ended
        if error.code not in ("no_session", "unauthenticated", "signed_out"):
            render.note(f"the session could not be ended on the server: {error}")
    tokens.forget(found)
    known, current = profiles.load()
    del known[found.name]
    profiles.save(known, None if current == found.name else current)
    render.say(f"signed out of {found.url}")


def whoami(as_json: Json = False) -> None:
    """Show who you are, where, and for which organisation you act."""
    client = connect()
    who, me = client.get("/v1/session"), client.get("/v1/me")
    found = profiles.selected()
    document: dict[str, Any] = {
        "profile": found.name if found else LOCAL,
        "url": client.target.url,
        "user": who["user"],
        "name": me["name"],
        "email": me["email"],
        "org": who["org"],
        "role": who["role"],
        "scopes": who["scopes"],
        "credential": who["credential"],
    }
    if as_json:
        render.emit(document)
        return
    for name, value in document.items():
        render.say(f"{name:>10}  {', '.join(value) if isinstance(value, list) else value or '-'}")


@profile_app.command("list")
def list_profiles(as_json: Json = False) -> None:
    """Show the profiles. `local` is the embedded stack."""
    known, _ = profiles.load()
    used = profiles.selected()
    rows = [(LOCAL, "the embedded stack", "yes" if used is None else "")]
    rows += [(p.name, p.url, "yes" if used and used.name == p.name else "") for p in known.values()]
    if as_json:
        render.emit([{"name": name, "url": url, "used": bool(mark)} for name, url, mark in rows])
    else:
        render.table(("profile", "server", "used"), rows, elastic="server")


@profile_app.command("use")
def use_profile(name: Annotated[str, typer.Argument(help="The profile, or `local`.")]) -> None:
    """Use a profile from now on."""
    known, _ = profiles.load()
    if name != LOCAL and name not in known:
        raise CliError(f"there is no profile {name!r}; `rclaude profile list` shows them", Exit.USAGE)
    profiles.save(known, None if name == LOCAL else name)


def _from_standard_input(what: str) -> str:
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass(f"{what}: ").strip()
    text = sys.stdin.readline().strip()
    if not text:
        raise CliError(f"{what} is expected on standard input", Exit.USAGE)
    return text
