"""`rclaude-admin broker`: what a broker of your own needs before the services can use it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from remote_claude.runtime.admin.command_support import PATIENCE_S, Refused, settings

app = typer.Typer(no_args_is_help=True, help="A broker of your own.")


@app.command(name="accounts")
def accounts_(
    seeds: Annotated[Path, typer.Argument(help="The folder of the seeds, one file a credential.")],
) -> None:
    """Print the block `accounts` of the broker's configuration, and make the seeds that are missing."""
    from remote_claude.runtime.broker.accounts import accounts
    from remote_claude.runtime.embedded.nats import accounts_config

    try:
        seeds.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = accounts_config(accounts(), seeds)
    except OSError as error:
        raise Refused(f"{seeds} can't be the folder of the seeds: {error.strerror}") from error
    typer.echo(f"accounts: {json.dumps(made, indent=1)}")


@app.command()
def init(
    new_keys: Annotated[
        bool,
        typer.Option(
            "--new-keys",
            help="Go on with an empty bucket of data keys beside a log that has lost its own: what they sealed stays sealed.",
        ),
    ] = False,
) -> None:
    """Make the streams where they are missing, and check those that are there. Needs the administrator's credential."""
    from remote_claude.runtime.broker.make_streams import make_streams
    from remote_claude.runtime.settings import BrokerSettings
    from remote_claude.runtime.settings_sources import resolve
    from remote_claude.runtime.telemetry.logs_and_metrics import configure_logging

    async def work() -> None:
        resolve(os.environ)
        if "RCLAUDE_NATS_URL" in os.environ:
            await make_streams(BrokerSettings.from_environment(), new_keys=new_keys, patience=PATIENCE_S)
            return
        async with settings(start=True) as where:
            await make_streams(where, new_keys=new_keys, patience=PATIENCE_S)

    configure_logging("warning", as_json=False)
    asyncio.run(work())
    typer.echo("the streams are there")
