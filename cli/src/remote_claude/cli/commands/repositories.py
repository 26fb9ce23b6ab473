"""Commands on forges and their repositories."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

repo_app = typer.Typer(
    no_args_is_help=True, help="Repositories on a forge: connect, disconnect, list, search."
)
Forge = Annotated[
    str, typer.Argument(help="github, gitlab, gitea, codeberg, bitbucket, azure, or one of the operator's.")
]
Own = Annotated[bool, typer.Option("--own", help="A token of yours, for your own tasks.")]


@repo_app.command("connect")
def connect_forge(
    forge: Forge,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from standard input.")
    ] = False,
    own: Own = False,
    app: Annotated[str | None, typer.Option(help="Id of a GitHub App, instead of a token.")] = None,
    installation: Annotated[str | None, typer.Option(help="With --app: the installation's id.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="With --app: the App's private key.")] = None,
) -> None:
    """Store a token for a forge, or a GitHub App, sealed: tasks clone and push with it. No sandbox sees it."""
    path = _path(forge, own)
    if app is not None:
        if installation is None or key_file is None or token_stdin or own:
            raise CliError("--app goes with --installation and --key-file, and with nothing else", Exit.USAGE)
        try:
            key = key_file.read_text().strip()
        except (OSError, UnicodeError) as error:
            raise CliError(f"{key_file} can't be read: {error}", Exit.USAGE) from error
        connect().put(path, {"app": {"app": app, "installation": installation, "key": key}})
        render.say(f"{forge} is connected")
        return
    if not token_stdin:
        raise CliError("give the token on standard input: add --token-stdin", Exit.USAGE)
    token = sys.stdin.readline().strip()
    if not token:
        raise CliError("there is no token on standard input", Exit.USAGE)
    connect().put(path, {"value": token})
    render.say(f"{forge} is connected")


@repo_app.command("disconnect")
def disconnect_forge(forge: Forge, own: Own = False) -> None:
    """Remove a token for a forge."""
    connect().delete(_path(forge, own))
    render.say(f"{forge} is disconnected")


@repo_app.command("list")
def list_repositories(forge: Forge = "github", as_json: Json = False) -> None:
    """List the repositories that your token for a forge can see, without one those of the organisation's."""
    _show(forge, "", as_json)


@repo_app.command("search")
def search_repositories(
    words: Annotated[str, typer.Argument(help="Part of the name; on azure ORG/WORDS.")],
    forge: Annotated[str, typer.Option(help="Where to search.")] = "github",
    as_json: Json = False,
) -> None:
    """Search the same repositories by their names."""
    _show(forge, words, as_json)


def _show(forge: str, words: str, as_json: bool) -> None:
    found = connect().get("/v1/repositories", forge=forge, search=words)["repositories"]
    if as_json:
        render.emit(found)
        return
    rows = [
        (one["name"], "private" if one["private"] else "public", one["default_branch"] or "-", one["url"])
        for one in found
    ]
    render.table(("repository", "seen by", "branch", "url"), rows, elastic="url")


def _path(forge: str, own: bool) -> str:
    return f"/v1/{'me' if own else 'org'}/forges/{quote(forge, safe='')}"
