"""`rclaude-admin org`: organisations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import administer, require

if TYPE_CHECKING:
    from remote_claude.runtime.service import Runtime
    from remote_claude.users.handlers import Directory

app = typer.Typer(no_args_is_help=True, help="Organisations.")


def _one_line(name: str) -> str:
    from remote_claude.contracts.names import ONE_LINE, is_name  # its package reads every event

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


@app.command()
def suspend(
    org: Annotated[str, typer.Argument(help="The organisation.")],
    reason: Annotated[
        str,
        typer.Option(
            callback=_one_line, help="Why; its members see it when they submit a task. No personal data."
        ),
    ],
) -> None:
    """Admit no further task of an organisation. What is queued or runs goes on; people can sign in, read and pay."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.users.domain.commands import SuspendOrg

        await require(runtime, "organisation", org)
        await _directory(runtime).handle(SuspendOrg(org=org, reason=reason))

    administer(work, user="users")


@app.command()
def resume(org: Annotated[str, typer.Argument(help="The organisation.")]) -> None:
    """End a suspension."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.users.domain.commands import ResumeOrg

        await require(runtime, "organisation", org)
        await _directory(runtime).handle(ResumeOrg(org=org))

    administer(work, user="users")


def _directory(runtime: Runtime) -> Directory:
    from remote_claude.users.handlers import Directory

    return Directory(runtime.log, runtime.keyring, runtime.clock)
