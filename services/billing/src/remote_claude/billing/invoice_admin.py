"""`rclaude-admin billing` and `rclaude-admin prices`: closing periods, payments, credits, and the plans on offer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from remote_claude.runtime.admin.command_support import Refused, administer, require

if TYPE_CHECKING:
    from remote_claude.billing.invoices import Invoices
    from remote_claude.runtime.service import Runtime

OPERATOR = "operator"

app = typer.Typer(no_args_is_help=True, help="Invoices, payments and credits of organisations.")
prices = typer.Typer(no_args_is_help=True, help="The plans that can be chosen, and their prices.")

Invoice = Annotated[str, typer.Argument(help="An invoice's number, or its id, inv_...")]
Org = Annotated[str | None, typer.Option(help="Only this organisation.")]


def _invoices(runtime: Runtime) -> Invoices:
    from remote_claude.billing.invoices import Invoices

    return Invoices(runtime.log, runtime.pool, runtime.objects, runtime.clock)


async def _find(invoices: Invoices, invoice: str) -> str:
    """The organisation that an invoice belongs to."""
    for org in await invoices.organisations():
        for known in (await invoices.account(org)).invoices.values():
            if invoice in (known.issued.invoice, known.issued.number):
                return org
    raise Refused(f"there is no invoice {invoice}; list them: rclaude-admin billing invoices")


@app.command("close")
def close(
    now: Annotated[
        bool, typer.Option("--now", help="Close the running period too, and skip the grace.")
    ] = False,
    org: Org = None,
) -> None:
    """Close every period that is over, and issue its invoice, for every organisation."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.billing.domain.invoicing import BillingRefusal

        invoices, refused = _invoices(runtime), 0
        for one in [org] if org is not None else await invoices.organisations():
            try:
                issued = await invoices.close(one, early=now, actor=OPERATOR)
            except BillingRefusal as error:
                refused += 1
                typer.echo(f"{one}: {error}", err=True)
                continue
            for invoice in issued:
                typer.echo(
                    f"{one} {invoice.period}: {invoice.number} ({invoice.invoice}) over {invoice.total}"
                    f" {invoice.currency} minor units"
                )
            if not issued:
                typer.echo(f"{one}: nothing to close")
        if refused:
            raise Refused(f"{refused} organisations were not closed; see above")

    administer(work, user="billing")


@app.command("invoices")
def list_invoices(org: Org = None) -> None:
    """List the invoices of every organisation."""

    async def work(runtime: Runtime) -> None:
        invoices = _invoices(runtime)
        for one in [org] if org is not None else await invoices.organisations():
            for known in (await invoices.account(one)).invoices.values():
                i = known.issued
                typer.echo(
                    f"{i.number}\t{i.invoice}\t{one}\t{i.period}\t{i.total} {i.currency}\t{known.state}"
                )

    administer(work, user="billing")


@app.command("paid")
def paid(
    invoice: Invoice,
    reference: Annotated[str | None, typer.Option(help="The payment's own reference, as a bank's.")] = None,
) -> None:
    """Record that an invoice was paid by hand."""

    async def work(runtime: Runtime) -> None:
        invoices = _invoices(runtime)
        org = await _find(invoices, invoice)
        known = await invoices.pay(org, invoice, "manual", reference, actor=OPERATOR)
        typer.echo(f"{known.issued.number} of {org} is {known.state}")

    administer(work, user="billing")


@app.command("credit")
def credit(
    org: Annotated[str, typer.Argument(help="The organisation's id, org_...")],
    amount: Annotated[str, typer.Argument(help="In the currency's unit, as 12.50.")],
    reason: Annotated[str, typer.Option(help="Why, in a word or two.")] = "goodwill",
) -> None:
    """Grant a credit that the next invoices take from."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.billing.domain.invoicing import GrantCredit
        from remote_claude.contracts.billing import CreditGranted
        from remote_claude.eventsourcing import new_event_id

        await require(runtime, "organisation", org)
        whole, _, part = amount.partition(".")
        if not (whole.isdigit() and (part.isdigit() or not part) and len(part) <= 9):
            raise Refused(f"{amount!r} is no amount; write it as 12.50")
        nano = int(whole) * 10**9 + int(part.ljust(9, "0") or 0)
        granted = CreditGranted(
            org=org, credit=f"credit_{new_event_id()}", amount_nano=nano, reason=reason, actor=OPERATOR
        )
        await _invoices(runtime).handle(org, GrantCredit(granted=granted))
        typer.echo(f"{org} has a credit of {amount}")

    administer(work, user="billing")


@app.command("rederive")
def rederive(invoice: Invoice) -> None:
    """Make an invoice again from the log in an empty database, and compare it with what was issued, byte for byte."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.billing.rederive import rederive as derive_again

        invoices = _invoices(runtime)
        org = await _find(invoices, invoice)
        issued = (await invoices.invoice(org, invoice)).issued
        derived, read = await derive_again(runtime, org, issued)
        wrong = []
        for name, made, recorded in (
            ("JSON", derived.json, issued.json_sha256),
            ("PDF", derived.pdf, issued.pdf_sha256),
        ):
            same = hashlib.sha256(made).hexdigest() == recorded
            stored = await runtime.objects.get(org, recorded)
            if not same or stored != made:
                wrong.append(name)
            typer.echo(
                f"{name} {len(made):,} bytes, sha256 {recorded}: {'equal' if name not in wrong else 'DIFFERS'}"
            )
        if wrong:
            raise Refused(f"{issued.number} can't be derived again: {' and '.join(wrong)} differ")
        typer.echo(f"{issued.number} follows from {read:,} events up to position {issued.closed_at:,}")

    administer(work, user="billing")


@prices.command("publish")
def publish(
    file: Annotated[
        Path, typer.Argument(help="A TOML file with catalog, seller and plans.", dir_okay=False, exists=True)
    ],
) -> None:
    """Offer the plans of a file. Accounts keep what they have until their plan is changed."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.billing.domain.plans import InvalidPlans, parse
        from remote_claude.billing.handlers import Accounts

        try:
            catalog = parse(file.read_text(encoding="utf-8"))
        except InvalidPlans as error:
            raise Refused(f"{file}: {error}") from error
        position = await Accounts(runtime.log, runtime.clock).publish(catalog, OPERATOR)
        typer.echo(f"{catalog.version} is published (position {position}): {', '.join(catalog.plans)}")

    administer(work, user="billing")


@prices.command("show")
def show() -> None:
    """Show the plans that are offered."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.billing.handlers import Accounts

        catalog = await Accounts(runtime.log, runtime.clock).catalog()
        typer.echo(f"{catalog.version}, sold by {catalog.seller.legal_name}")
        for plan in catalog.plans.values():
            limit = plan.entitlements.executions_per_month
            typer.echo(f"  {plan.plan}\t{plan.version}\t{'unlimited' if limit is None else limit} executions")

    administer(work, user="billing")
