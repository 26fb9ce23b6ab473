"""`rclaude-admin webhook`: the addresses that get a request when a task ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer, require
from remote_claude.runtime.purpose import Purpose

if TYPE_CHECKING:
    from remote_claude.gateway.projections.webhooks import Webhook
    from remote_claude.runtime.service import Runtime

app = typer.Typer(no_args_is_help=True, help="Webhooks: addresses that get a request when a task ends.")

Org = Annotated[str, typer.Argument(help="The organisation's id, org_...")]


@app.command()
def add(
    org: Org, url: Annotated[str, typer.Argument(help="The address to post to, http:// or https://.")]
) -> None:
    """Add a webhook for the tasks that end from now on. Prints `<hook> <secret>`; the secret is shown only once."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.access.keyring import KeyErased
        from remote_claude.gateway.domain.webhooks import WebhookRefused
        from remote_claude.gateway.handlers import WebhookHandlers

        await require(runtime, "organisation", org)
        hook = runtime.new_id("hook")
        try:
            secret, _ = await WebhookHandlers(runtime.log, runtime.keyring, runtime.clock).add(hook, org, url)
        except (WebhookRefused, KeyErased) as error:
            raise CommandRefused(str(error)) from error
        typer.echo(f"{hook} {secret}")

    administer(work, user="gateway")


@app.command("list")
def list_(
    org: Annotated[str | None, typer.Argument(help="Only this organisation's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Show webhooks: how many deliveries succeeded, failed or are pending, and the outcome of the last."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.gateway.projections.webhooks import webhooks

        rows = [
            {
                "id": hook.hook,
                "org": hook.org,
                "url": await _url(runtime, hook),
                "added_at": hook.added_at,
                "pending": hook.pending,
                "delivered": hook.delivered,
                "failed": hook.failed,
                "last": hook.last,
                "last_at": hook.last_at,
            }
            for hook in await webhooks(runtime.pool, org=org)
        ]
        if as_json:
            typer.echo(json.dumps(rows))
            return
        for row in rows:
            summary = "{delivered} delivered, {failed} failed, {pending} pending".format_map(row)
            if row["last"]:
                summary += f", last: {row['last']}"
            typer.echo(f"{row['id']} {row['org']} {row['url']}: {summary}")

    administer(work, Purpose.LOOK, user="gateway")


@app.command()
def remove(org: Org, hook: Annotated[str, typer.Argument(help="The webhook's id, hook_...")]) -> None:
    """Remove a webhook. Deliveries that are still pending are dropped."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.gateway.domain.webhooks import WebhookRefused
        from remote_claude.gateway.handlers import WebhookHandlers

        try:
            await WebhookHandlers(runtime.log, runtime.keyring, runtime.clock).remove(hook, org)
        except WebhookRefused as error:
            raise CommandRefused(str(error)) from error
        typer.echo(f"{hook} is removed")

    administer(work, user="gateway")


async def _url(runtime: Runtime, hook: Webhook) -> str:
    from remote_claude.access.keyring import KeyErased
    from remote_claude.contracts.contexts import webhook_url_context

    try:
        return await runtime.keyring.open(hook.url, webhook_url_context(hook.hook))
    except KeyErased:
        return "(erased)"
