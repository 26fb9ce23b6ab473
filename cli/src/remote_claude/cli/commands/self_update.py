"""`rclaude self`: this program itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from remote_claude.cli import release, releases, render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit

self_app = typer.Typer(no_args_is_help=True, help="This program itself: update it.")


@self_app.callback()
def main() -> None:
    """This program itself: update it."""


@self_app.command("update")
def update(
    source: Annotated[
        str | None, typer.Option("--from", help="Address of a release; otherwise the one it was built for.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Say what there is; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Replace this program by a newer release, if its signature is right."""
    if (command := releases.upgrade_command()) is not None:
        raise CliError(
            f"this rclaude is upgraded by what installed it: {command}",
            Exit.USAGE,
            code="installed_otherwise",
        )
    built_in = releases.built_in()
    url = (source or (built_in.url if built_in else "")).rstrip("/")
    if built_in is None or not url:
        raise CliError("this program knows no address of releases: name one with --from", Exit.USAGE)
    chosen = releases.Source(url, built_in.signers)
    found, here = releases.newest(chosen), release()
    is_newer = releases.is_newer(found.version, here)
    if is_newer and not check:
        releases.install(chosen, found, Path(sys.executable).resolve())
    if as_json:
        render.emit({"installed": here, "newest": found.version, "updated": is_newer and not check})
    elif not is_newer:
        render.say(f"rclaude {here} is the newest; {url} has {found.version}")
    else:
        render.say(
            f"rclaude {found.version} is there; `rclaude self update` installs it"
            if check
            else f"updated: rclaude {here} to {found.version}"
        )
