"""`rclaude-admin plan`: which plan an organisation is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import Refused, administer, require

if TYPE_CHECKING:
    from remote_claude.runtime.service import Runtime

app = typer.Typer(no_args_is_help=True, help="Plans of organisations.")


@app.command("set")
def set_plan(
    org: Annotated[str, typer.Argument(help="The organisation's id, org_...")],
    plan: Annotated[str, typer.Argument(help="A plan by its name, such as free, pro or enterprise.")],
) -> None:
    """Put an organisation on a plan, by an event. It holds from the next admission on."""

    async def change(runtime: Runtime) -> None:
        from remote_claude.billing.domain.account import UnknownPlan
        from remote_claude.billing.handlers import Accounts
        from remote_claude.billing.plan_sizes import slots, too_large

        await require(runtime, "organisation", org)
        accounts = Accounts(runtime.log, runtime.clock)
        try:
            position = await accounts.set_plan(org, plan)
        except UnknownPlan as error:
            raise Refused(str(error)) from error
        typer.echo(f"{org} is on {plan} (position {position})")
        allowed = (await accounts.catalog()).plans[plan].entitlements
        if (why := too_large(allowed, await slots(runtime.log))) is not None:
            typer.echo(f"note: {why}", err=True)

    administer(change, user="billing")
