"""`rclaude-admin plan`: which plan an organisation is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer

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
        from remote_claude.billing.admin_work import OPERATOR
        from remote_claude.billing.domain.account import UnknownOrganisation, UnknownPlan
        from remote_claude.billing.handlers import Accounts

        try:
            assigned = await Accounts(runtime.log, runtime.clock).assign_plan(org, plan, OPERATOR)
        except (UnknownOrganisation, UnknownPlan) as error:
            raise CommandRefused(str(error)) from error
        typer.echo(f"{org} is on {plan} (position {assigned.position})")
        if assigned.note is not None:
            typer.echo(f"note: {assigned.note}", err=True)

    administer(change, user="billing")
