"""`rclaude-admin org`: organisations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.contracts.names import ONE_LINE, is_name
from remote_claude.runtime.admin.command_support import administer

if TYPE_CHECKING:
    from remote_claude.runtime.service import Runtime

app = typer.Typer(no_args_is_help=True, help="Organisations.")


def _one_line(name: str) -> str:
    if not is_name(name):
        raise typer.BadParameter(f"a name {ONE_LINE}, not {name!a}")
    return name


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(callback=_one_line, help="Its name; it is sealed before it is recorded.")
    ],
) -> None:
    """Found an organisation with an owner; prints `<org> <user>`. Billing puts it on the plan `free`."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.eventsourcing.jetstream.streams import check_keys
        from remote_claude.users.handlers import Directory

        await check_keys(runtime.nats)
        org, user = runtime.new_id("org"), runtime.new_id("user")
        directory = Directory(runtime.log, runtime.keyring, runtime.clock)
        await directory.register(user, f"owner of {name}")
        await directory.create_org(org, name, user)
        typer.echo(f"{org} {user}")

    administer(work, user="users")
