"""`rclaude-admin broker`: what a broker of your own needs before the services can use it."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import PATIENCE_S, CommandRefused, settings

if TYPE_CHECKING:
    from nats.aio.client import Client

    from remote_claude.runtime.settings import BrokerSettings

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
        raise CommandRefused(f"{seeds} can't be the folder of the seeds: {error.strerror}") from error
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
    import asyncio  # the list of commands needs none of it

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


@app.command()
def export_keys(
    file: Annotated[Path, typer.Argument(help="Where to, a new file.")],
) -> None:
    """Write the data keys into a file, as the broker has them: wrapped by the key-encryption key."""

    async def work(client: Client, _: BrokerSettings) -> str:
        from remote_claude.runtime.broker.data_keys import export_keys as export

        return f"{await export(client, file):,} data keys in {file}"

    _with_broker(work)


@app.command()
def import_keys(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A file of `broker export-keys`.")
    ],
) -> None:
    """Put back the data keys of a file that the broker has never had. What was erased stays erased."""

    async def work(client: Client, where: BrokerSettings) -> str:
        from remote_claude.runtime.broker.data_keys import NoDataKeys
        from remote_claude.runtime.broker.data_keys import import_keys as import_

        try:
            return f"{await import_(client, file, replicas=where.replicas):,} data keys were put back"
        except NoDataKeys as error:
            raise CommandRefused(str(error)) from error

    _with_broker(work)


def _with_broker(work: Callable[[Client, BrokerSettings], Awaitable[str]]) -> None:
    """Connect as the administrator, do the work, and print what it returns."""
    import asyncio

    from remote_claude.runtime.broker.connection import connect_nats
    from remote_claude.runtime.telemetry.logs_and_metrics import configure_logging

    async def run() -> str:
        async with settings(start=True) as where:
            client = await connect_nats(where, patience=PATIENCE_S)
            try:
                return await work(client, where)
            finally:
                await client.close()

    configure_logging("warning", as_json=False)
    typer.echo(asyncio.run(run()))
