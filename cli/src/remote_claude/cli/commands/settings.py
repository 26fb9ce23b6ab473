"""`rclaude config`: what the CLI remembers."""

from __future__ import annotations

from typing import Annotated

import typer

from remote_claude.cli import config, render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit


def configure(
    key: Annotated[
        str | None,
        typer.Argument(help=f"One of: {', '.join(config.KEYS)}.", autocompletion=lambda: list(config.KEYS)),
    ] = None,
    value: Annotated[str | None, typer.Argument(help="What it is to be; without it, what it is.")] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Forget the setting.")] = False,
    as_json: Json = False,
) -> None:
    """Show, set or forget a setting. A flag goes before the environment, that before this file."""
    settings = config.load()
    if key is not None and key not in config.KEYS:
        raise CliError(f"there is no setting {key!r}; there are: {', '.join(config.KEYS)}", Exit.USAGE)
    if key is None:
        shown = {name: _shown(name, settings.get(name)) for name in config.KEYS}
        if as_json:
            render.emit(shown)
        else:
            rows = [(k, v or "-", config.KEYS[k]) for k, v in shown.items()]
            render.table(("setting", "value", "meaning"), rows, elastic="meaning", expendable=("meaning",))
    elif unset:
        settings.pop(key, None)
        config.save(settings)
    elif value is not None:
        config.check(key, value)
        config.save({**settings, key: value})
    elif as_json:
        render.emit({key: _shown(key, settings.get(key))})
    else:
        render.say(_shown(key, settings.get(key)) or "-")


def _shown(name: str, value: str | None) -> str | None:
    return value[:10] + "…" if name == "api_key" and value else value
