"""`rclaude-admin key`: API keys of organisations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.access.scopes import ORG_SCOPES, SCOPES
from remote_claude.runtime.admin.command_support import CommandRefused, administer, require

if TYPE_CHECKING:
    from remote_claude.runtime.service import Runtime

app = typer.Typer(no_args_is_help=True, help="API keys of organisations.")

Org = Annotated[str, typer.Argument(help="The organisation's id, org_...")]


@app.command()
def issue(
    org: Org,
    user: Annotated[str, typer.Argument(help="The person's id, user_...")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help=f"What it is good for: {', '.join(SCOPES)}; may be given again. Left out: everything inside the organisation."
        ),
    ] = None,
) -> None:
    """Make a key and print it: the only time that anybody sees it."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.access import credential_secrets
        from remote_claude.auth.domain.keys import UnknownScope
        from remote_claude.auth.handlers import ApiKeys
        from remote_claude.contracts.users import MemberJoined
        from remote_claude.eventsourcing.events import stream_id

        await require(runtime, "organisation", org)
        await require(runtime, "person", user)
        history = await runtime.log.read_stream(stream_id("users", org, "org", org))
        joined = (recorded.event for recorded in history if isinstance(recorded.event, MemberJoined))
        if user not in {member.user for member in joined}:
            raise CommandRefused(f"{user} is not a member of {org}")
        key, secret = runtime.new_id("key"), credential_secrets.generate()
        scopes = tuple(dict.fromkeys(scope or ORG_SCOPES))
        try:
            await ApiKeys(runtime.log, runtime.clock).issue(
                key=key, org=org, user=user, secret=secret, scopes=scopes
            )
        except UnknownScope as error:
            raise CommandRefused(str(error)) from error
        typer.echo(f"{key} {secret}")

    administer(work, user="auth")


@app.command()
def revoke(
    org: Org,
    key: Annotated[str, typer.Argument(help="The key's id, key_...")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "revoked by the administrator",
) -> None:
    """Refuse a key from now on, on open connections too."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.auth.domain.keys import KeyNotFound
        from remote_claude.auth.handlers import ApiKeys

        try:
            await ApiKeys(runtime.log, runtime.clock).revoke(key=key, org=org, reason=reason)
        except (KeyNotFound, ValueError) as error:
            raise CommandRefused(str(error)) from error
        typer.echo(f"{key} is revoked")

    administer(work, user="auth")
