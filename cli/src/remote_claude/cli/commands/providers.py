"""`rclaude provider`: the compute providers that this home's stack uses, and their credentials."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.self_hosted import providers

provider_app = typer.Typer(
    no_args_is_help=True, help="Where tasks run: compute providers and their credentials."
)

_AGAIN = "`rclaude down && rclaude up --detach` takes it over"


@provider_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Such as kubernetes, fly, cloud_run.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE, as the reference of settings has it.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret", help="A field whose value is asked for, or read as a line of standard input."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let this home's stack use a provider. Credentials go to the keyring, or to a file for its owner only."""
    given = dict(_pair(text) for text in setting or ())
    wanted = secret or []
    providers.fields(name)  # refuses before it asks
    chosen = providers.add(name, given, {field: _secret(field) for field in wanted})
    if as_json:
        render.emit(
            {"name": name, "settings": chosen.settings, "secrets": chosen.secrets, "store": chosen.store}
        )
    else:
        render.say(f"added: {name}. {_AGAIN}; `rclaude provider check {name}` tries it")


@provider_app.command("list")
def list_providers(as_json: Json = False) -> None:
    """The providers that can be used here, and those that this home uses."""
    used = providers.load()
    rows = [
        {
            "name": name,
            "used": name in used or name == providers.LOCAL,
            "settings": used[name].settings if name in used else {},
            "secrets": used[name].secrets if name in used else [],
        }
        for name in sorted({*providers.installed(), *used})
    ]
    if as_json:
        render.emit(rows)
        return
    lines = []
    for name in sorted({*providers.installed(), *used}):
        chosen = used.get(name, providers.Chosen({}, [], "file"))
        shown = [f"{key}={value}" for key, value in chosen.settings.items()]
        shown += [f"{key}=***" for key in chosen.secrets]
        is_used = name in used or name == providers.LOCAL
        lines.append((name, "yes" if is_used else "no", ", ".join(shown)))
    render.table(("provider", "used", "settings"), lines, elastic="settings")


@provider_app.command("check")
def check(name: Annotated[str, typer.Argument(help="A provider.")], as_json: Json = False) -> None:
    """Start the worker's image once, and remove it: costs what the vendor asks for a minute."""
    providers.fields(name)
    chosen = providers.load().get(name)
    if chosen is not None:
        os.environ.update(providers.environment(name, chosen))

    async def run() -> None:
        provider = providers.made(name)
        try:
            await provider.check()
        finally:
            await provider.close()

    try:
        asyncio.run(run())
    except Exception as error:
        if (code := getattr(error, "code", None)) is None:
            raise
        raise CliError(str(error), Exit.REFUSED, code=str(code)) from error
    if as_json:
        render.emit({"name": name, "ok": True})
    else:
        render.say(f"{name} works")


@provider_app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="A provider.")]) -> None:
    """Forget a provider and its credentials. What runs there ends when the stack starts again without it."""
    if not providers.remove(name):
        raise CliError(f"this home does not use {name}", Exit.USAGE, code="provider_unknown")
    render.say(f"removed: {name}. {_AGAIN}")


def _pair(text: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not is_pair or not key:
        raise CliError(f"not FIELD=VALUE: {text!r}", Exit.USAGE)
    return key.strip().lower(), value


def _secret(field: str) -> str:
    value = (
        typer.prompt(field, hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    )
    if not value:
        raise CliError(
            f"no value for {field}: write it to standard input, one line for each --secret", Exit.USAGE
        )
    return str(value)
