"""Commands on the key that signs the organisation's commits."""

from __future__ import annotations

import typer

from remote_claude.cli import render
from remote_claude.cli.session import connect

PATH = "/v1/org/signing-key"

signing_key_app = typer.Typer(
    no_args_is_help=True, help="The key that signs pushed commits: create, show, remove."
)


@signing_key_app.command("create")
def create_signing_key() -> None:
    """Make the key that signs the commits of tasks when they are pushed; prints its public half."""
    render.say(connect().post(PATH)["public_key"])
    render.note("add it on the forge as a signing key, and as an allowed signer where commits are verified")


@signing_key_app.command("show")
def show_signing_key() -> None:
    """Print the public key."""
    render.say(
        connect().get(PATH)["public_key"] or "there is none; `rclaude org signing-key create` makes one"
    )


@signing_key_app.command("remove")
def remove_signing_key() -> None:
    """Sign no more commits."""
    connect().delete(PATH)
    render.say("the signing key is removed")
