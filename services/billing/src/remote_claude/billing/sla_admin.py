"""`rclaude-admin sla`: the service levels of a month, by organisation."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer

if TYPE_CHECKING:
    from remote_claude.billing.sla import ServiceReport
    from remote_claude.runtime.service import Runtime

app = typer.Typer(no_args_is_help=True, help="Service levels by organisation, and credits for those missed.")


@app.callback()
def group() -> None:
    """Service levels by organisation, and credits for those missed."""


@app.command()
def report(
    month: Annotated[str, typer.Argument(help="Such as 2026-11.")],
    org: Annotated[str | None, typer.Option(help="Only this organisation.")] = None,
    prometheus: Annotated[
        str | None, typer.Option(help="Where the edge's figures are, such as http://127.0.0.1:9090.")
    ] = None,
    terms: Annotated[
        Path | None, typer.Option(help="A TOML file of what contracts promise.", dir_okay=False, exists=True)
    ] = None,
    grant: Annotated[
        bool, typer.Option("--grant", help="Grant the credits, each once; the month has to be over.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Show availability and latency of a month from the log and the edge, and the credit that the terms give."""

    promised = terms.read_text(encoding="utf-8") if terms is not None else ""

    async def work(runtime: Runtime) -> None:
        found = await _reports(runtime, month, org, prometheus, promised, grant)
        if as_json:
            typer.echo(json.dumps([asdict(one) for one in found], default=float))
            return
        for one in found:
            typer.echo(_line(one))

    administer(work, user="billing")


async def _reports(
    runtime: Runtime, name: str, org: str | None, prometheus: str | None, terms: str, grant: bool
) -> list[ServiceReport]:
    from datetime import datetime

    from remote_claude.billing import sla
    from remote_claude.billing.admin_work import OPERATOR
    from remote_claude.billing.domain.invoicing import GrantCredit
    from remote_claude.billing.invoices import Invoices
    from remote_claude.billing.projections.caught_up import caught_up
    from remote_claude.billing.projections.usage import UsageView

    now = runtime.clock()
    try:
        month = sla.ServiceMonth.of(name)
        promised = sla.parse(terms)
        if month.starts_at >= now:
            raise CommandRefused(f"{name} has not begun")
        if grant and month.ends_at > now:
            raise CommandRefused(f"{name} is not over: credits are granted after its end")
        at_edge = await sla.edge(prometheus, month, now) if prometheus is not None else None
    except (sla.InvalidTerms, sla.EdgeUnknown) as error:
        raise CommandRefused(str(error)) from error
    fold = sla.MonthFold(month)
    async for batch in runtime.log.read():
        for recorded in batch:
            fold.apply(recorded.event, datetime.fromisoformat(recorded.occurred_at))
    await caught_up(runtime.log, runtime.pool, UsageView.name)
    invoices = Invoices(runtime.log, runtime.pool, runtime.objects, runtime.clock, runtime.keyring)
    orgs = [org] if org is not None else await invoices.organisations()
    found = await sla.reports(runtime.pool, month, promised, fold.found, at_edge, orgs)
    for one in found:
        if grant and (granted := one.credit(OPERATOR)) is not None:
            await invoices.handle(one.org, GrantCredit(granted=granted))
    return found


def _line(one: ServiceReport) -> str:
    from remote_claude.billing.domain.invoice import NANO
    from remote_claude.billing.sla import percent

    waits = "no starts"
    if one.started_within is not None:
        waits = f"started after {one.p50_seconds:.1f} s, 95 % within {one.p95_seconds:.1f} s, 99 % within {one.p99_seconds:.1f} s"
    at_edge = (
        f"edge {percent(one.edge_availability)}" if one.edge_availability is not None else "edge not asked"
    )
    return (
        f"{one.org}\t{one.month}\t{percent(one.availability)}\t{one.failed_by_service} of {one.tasks} tasks failed by the service"
        f"\t{waits}\t{at_edge}\tcredit {one.credit_nano / NANO:.2f} {one.currency}"
    )
