"""`rclaude-admin keys`: the key-encryption keys, which wrap the data keys of people and organisations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer, settings

if TYPE_CHECKING:
    from remote_claude.runtime.service import Runtime

app = typer.Typer(no_args_is_help=True, help="Key-encryption keys.")


@app.command()
def create() -> None:
    """Make the first key-encryption key, in `RCLAUDE_KEK_FILE`; encrypted by `RCLAUDE_KEK_KMS` where that is set."""
    import asyncio  # the list of commands needs none of it

    async def work() -> None:
        async with settings() as where:
            if where.kek_file is None or where.kek_file.exists():
                raise CommandRefused(
                    f"{where.kek_file or 'RCLAUDE_KEK_FILE'} is there already, or is not set: `rotate` adds a key"
                )
            where.key_source.add()
            typer.echo(f"{where.kek_file} has a key")

    asyncio.run(work())


@app.command()
def rotate() -> None:
    """Add a key-encryption key, and wrap every data key with it. No event changes.

    The older ones stay in the file: backups of the data keys need them, until `retire`. Without a file, put the new key before the others
    in `RCLAUDE_KEK`, restart every process, and run this.
    """

    async def work(runtime: Runtime) -> None:
        source = runtime.settings.key_source
        if not source.text:
            source.add()
        typer.echo(f"{await runtime.keyring.rewrap()} data keys are wrapped by the newest key-encryption key")

    administer(work)


@app.command()
def retire() -> None:
    """Keep the newest key-encryption key only, after every data key was wrapped with it.

    No copy of the data keys that was made before the last rotation opens again: make a backup of them afterwards.
    """

    async def work(runtime: Runtime) -> None:
        source = runtime.settings.key_source
        wrapped = await runtime.keyring.rewrap()
        typer.echo(f"{source.keep_newest()} older keys are retired; the newest opens {wrapped} data keys")

    administer(work)
