"""What `rclaude-admin billing` and `rclaude-admin prices` do, each beside a running service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date, timedelta
from pathlib import Path

import typer
from pydantic import ValidationError

from remote_claude.billing import margin as margins
from remote_claude.billing import rederive as rederiving
from remote_claude.billing import simulation
from remote_claude.billing.coupons import Coupons
from remote_claude.billing.documents import renderer
from remote_claude.billing.domain.account import UnknownOrganisation
from remote_claude.billing.domain.coupons import CouponExhausted, CouponTaken, UnknownCoupon
from remote_claude.billing.domain.invoice import NANO, minor_digits
from remote_claude.billing.domain.invoicing import BillingRefusal, GrantCredit
from remote_claude.billing.domain.plans import Catalog, InvalidPlans, parse
from remote_claude.billing.handlers import Accounts, VersionTaken
from remote_claude.billing.invoice_issuing import InvoiceIssuer
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.projections.caught_up import caught_up
from remote_claude.billing.projections.issued import InvoicesView, find_invoices, state_of
from remote_claude.billing.projections.usage import UsageView
from remote_claude.billing.settings import BillingSettings
from remote_claude.billing.stripe_adapter import Stripe
from remote_claude.billing.stripe_worker import Payments
from remote_claude.billing.watch import BillingWatch
from remote_claude.contracts import model_prices
from remote_claude.contracts.billing import CouponCreated, CouponTerms, CreditGranted, InvoiceIssued, Seller
from remote_claude.contracts.model_prices import InvalidModelPrices, ModelPrices, list_prices
from remote_claude.eventsourcing import new_event_id
from remote_claude.runtime.admin.command_support import CommandRefused, require
from remote_claude.runtime.service import Runtime

OPERATOR = "operator"
"""The actor of what an operator decides."""


def _invoices(runtime: Runtime) -> Invoices:
    return Invoices(runtime.log, runtime.pool, runtime.objects, runtime.clock, runtime.keyring)


def _issuer(runtime: Runtime) -> InvoiceIssuer:
    return InvoiceIssuer(_invoices(runtime), runtime.log, runtime.pool, runtime.clock)


async def _org_of(runtime: Runtime, invoice: str) -> str:
    """The organisation that an invoice belongs to. Raises `CommandRefused`."""
    await caught_up(runtime.log, runtime.pool, InvoicesView.name)
    found = await find_invoices(runtime.pool, named=invoice)
    if not found:
        raise CommandRefused(f"there is no invoice {invoice}; list them: rclaude-admin billing invoices")
    return str(found[0]["org"])


def _catalog(file: Path) -> Catalog:
    """The catalog of a file. Raises `CommandRefused`."""
    try:
        return parse(file.read_text(encoding="utf-8"))
    except InvalidPlans as error:
        raise CommandRefused(f"{file}: {error}") from error


def _costs(file: Path) -> dict[str, margins.Costs]:
    """What providers cost, by the file. Raises `CommandRefused`."""
    try:
        return margins.parse(file.read_text(encoding="utf-8"))
    except margins.InvalidCosts as error:
        raise CommandRefused(f"{file}: {error}") from error


def _amount(minor: int, currency: str) -> str:
    """An amount in the currency's smallest unit, as people write it."""
    digits = minor_digits(currency)
    whole, part = divmod(minor, 10**digits)
    return f"{whole:,}{f'.{part:0{digits}}' if digits else ''} {currency.upper()}"


def _nano(amount: str) -> int:
    """Billionths of an amount in the currency's unit. Raises `CommandRefused`."""
    whole, _, part = amount.partition(".")
    if not (whole.isdigit() and (part.isdigit() or not part) and len(part) <= 9):
        raise CommandRefused(f"{amount!r} is no amount; write it as 12.50")
    return int(whole) * NANO + int(part.ljust(9, "0") or 0)


async def close(runtime: Runtime, now: bool, org: str | None) -> None:
    """Close and issue, organisation by organisation; one that is refused keeps no other from it."""
    issuer, refused = _issuer(runtime), 0
    invoices = issuer.invoices
    if org is not None and (await invoices.account(org)).opened_at is None:
        raise CommandRefused(str(UnknownOrganisation(org)))
    for one in [org] if org is not None else await invoices.organisations():
        try:
            issued = await issuer.close(one, early=now, actor=OPERATOR)
        except BillingRefusal as error:
            refused += 1
            typer.echo(f"{one}: {error}", err=True)
            continue
        for invoice in issued:
            typer.echo(
                f"{one} {invoice.period}: {invoice.number} ({invoice.invoice}) over"
                f" {_amount(invoice.total, invoice.currency)}"
            )
        if not issued:
            typer.echo(f"{one}: nothing to close")
    if refused:
        raise CommandRefused(f"{refused} organisations were not closed; see above")


async def list_invoices(runtime: Runtime, org: str | None) -> None:
    """Number, id, organisation, period, total, state; one line each."""
    await caught_up(runtime.log, runtime.pool, InvoicesView.name)
    for i in await find_invoices(runtime.pool, org=org):
        total = f"{i['total']} {i['currency']}"
        typer.echo("\t".join((i["number"], i["invoice"], i["org"], i["period"], total, state_of(i))))


async def paid(runtime: Runtime, invoice: str, reference: str | None) -> None:
    """Record a payment by hand."""
    org = await _org_of(runtime, invoice)
    known = await _invoices(runtime).pay(org, invoice, "manual", reference, actor=OPERATOR)
    typer.echo(f"{known.issued.number} of {org} is {known.state}")


async def credit_note(runtime: Runtime, invoice: str, amount: str | None, reason: str) -> None:
    """Correct an invoice."""
    org = await _org_of(runtime, invoice)
    issuer = _issuer(runtime)
    currency = (await issuer.invoices.invoice(org, invoice)).issued.currency
    minor = None if amount is None else _nano(amount) // (NANO // 10 ** minor_digits(currency))
    try:
        note = await issuer.correct(org, invoice, minor, reason, OPERATOR)
    except BillingRefusal as error:
        raise CommandRefused(str(error)) from error
    back = {"stripe": "Stripe pays it back", "manual": "pay it back by hand", None: "so much less is due"}
    typer.echo(
        f"{note.number} ({note.invoice}) over {_amount(note.total, note.currency)}: {back[note.refund]}"
    )


async def credit(runtime: Runtime, org: str, amount: str, reason: str) -> None:
    """Grant a credit."""
    await require(runtime, "organisation", org)
    granted = CreditGranted(
        org=org, credit=f"credit_{new_event_id()}", amount_nano=_nano(amount), reason=reason, actor=OPERATOR
    )
    await _invoices(runtime).handle(org, GrantCredit(granted=granted))
    typer.echo(f"{org} has a credit of {amount}")


def _coupons(runtime: Runtime) -> Coupons:
    return Coupons(runtime.log, runtime.clock, _invoices(runtime))


async def create_coupon(
    runtime: Runtime,
    code: str,
    percent: str | None,
    amount: str | None,
    periods: int,
    redeem_by: str | None,
    max_redemptions: int | None,
) -> None:
    """Create a coupon."""
    if (percent is None) == (amount is None):
        raise CommandRefused("a coupon takes off a part or an amount: give --percent or --amount")
    try:
        until = f"{date.fromisoformat(redeem_by)}T23:59:59.999999Z" if redeem_by is not None else None
        terms = CouponTerms(
            percent=percent, amount_nano=None if amount is None else _nano(amount), periods=periods
        )
        created = CouponCreated(
            coupon=code, terms=terms, redeem_by=until, max_redemptions=max_redemptions, actor=OPERATOR
        )
        position = await _coupons(runtime).create(created)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CommandRefused(f"the coupon was not created: {where}: {first['msg']}") from error
    except (ValueError, CouponTaken) as error:
        raise CommandRefused(f"the coupon was not created: {error}") from error
    typer.echo(f"{code} can be redeemed (position {position})")


async def list_coupons(runtime: Runtime) -> None:
    """Code, what it takes off, from how many invoices, until when, by how many organisations; one line each."""
    for one in await _coupons(runtime).all():
        off = (
            f"{one.terms.percent} %"
            if one.terms.percent is not None
            else _dollars(one.terms.amount_nano or 0)
        )
        typer.echo(
            f"{one.coupon}\t{off}\t{one.terms.periods}\t{one.redeem_by or 'no end'}\t{one.max_redemptions or 'no cap'}"
        )


def _dollars(nano: int) -> str:
    return f"{nano / NANO:.2f} usd"


async def redeem_coupon(runtime: Runtime, org: str, code: str) -> None:
    """Redeem a coupon for an organisation."""
    await require(runtime, "organisation", org)
    try:
        redeemed = await _coupons(runtime).redeem(org, code, OPERATOR)
    except (UnknownCoupon, CouponExhausted) as error:
        raise CommandRefused(str(error)) from error
    typer.echo(f"{redeemed.coupon} is taken off the next invoices of {org}: {redeemed.terms.periods}")


async def simulate(runtime: Runtime, file: Path, last: int, as_json: bool) -> None:
    """Show the effect of a file's prices on past periods."""
    catalog = _catalog(file)
    await caught_up(runtime.log, runtime.pool, UsageView.name)
    found = await simulation.simulate(runtime.pool, catalog, last)
    if as_json:
        typer.echo(json.dumps([asdict(s) | {"difference": s.after - s.before} for s in found]))
        return
    by_org: dict[str, list[simulation.Simulated]] = {}
    for s in found:
        by_org.setdefault(s.org, []).append(s)
        typer.echo(f"{s.org}\t{s.period}\t{'+'.join(s.plans)}\t{_change(s.before, s.after)}")
    for one, parts in by_org.items():
        typer.echo(f"{one}\tall\t\t{_change(sum(s.before for s in parts), sum(s.after for s in parts))}")
    before, after = sum(s.before for s in found), sum(s.after for s in found)
    typer.echo(f"all organisations, {catalog.version}: {_change(before, after)}")


def _change(before: int, after: int) -> str:
    """Two amounts in billionths, and their difference."""
    return f"{before / NANO:.2f} -> {after / NANO:.2f} ({(after - before) / NANO:+.2f})"


async def margin(runtime: Runtime, file: Path, last: int, as_json: bool) -> None:
    """Show revenue and cost by organisation, by plan and by provider."""
    costs = _costs(file)
    await caught_up(runtime.log, runtime.pool, UsageView.name)
    found = await margins.margins(runtime.pool, costs, last)
    if as_json:
        typer.echo(json.dumps([asdict(m) | {"margin": m.revenue - m.cost} for m in found]))
        return
    by_plan: dict[str, list[margins.Margin]] = {}
    for m in found:
        by_plan.setdefault(m.plan, []).append(m)
        typer.echo(f"{m.org}\t{m.period}\t{m.plan}\t{_margin([m])}")
    for plan, parts in sorted(by_plan.items()):
        typer.echo(f"plan {plan}\tall\t\t{_margin(parts)}")
    for provider in sorted({name for m in found for name in m.providers}):
        parts_there = [m.providers[provider] for m in found if provider in m.providers]
        typer.echo(f"provider {provider}\tall\t\t{_margin(parts_there)}")
    typer.echo(f"all\tall\t\t{_margin(found)}")


def _margin(parts: Sequence[margins.Margin | margins.ProviderMargin]) -> str:
    revenue, cost = sum(m.revenue for m in parts), sum(m.cost for m in parts)
    return f"revenue {revenue / NANO:.2f}, cost {cost / NANO:.2f}, margin {(revenue - cost) / NANO:+.2f}"


async def reconcile(runtime: Runtime) -> None:
    """Compare invoices with Stripe's now."""
    settings = BillingSettings.from_environment()
    if settings.stripe_key is None:
        raise CommandRefused("there is no Stripe key: set RCLAUDE_BILLING_STRIPE_KEY")
    await caught_up(runtime.log, runtime.pool, InvoicesView.name)
    stripe = Stripe(settings.stripe_key.get_secret_value(), None, settings.stripe_url)
    accounts, invoices = Accounts(runtime.log, runtime.clock), _invoices(runtime)
    grace = timedelta(seconds=settings.unpaid_grace_s)
    watch = BillingWatch(runtime.pool, runtime.clock, accounts, invoices, settings.default_plan, grace)
    differing = await watch.reconcile(stripe, Payments(stripe, accounts, invoices, runtime.clock))
    typer.echo(f"{differing} invoices differ from Stripe's" if differing else "Stripe agrees")


async def rederive(runtime: Runtime, invoice: str | None) -> None:
    """Make an invoice again, or all of them, and compare. Raises `CommandRefused` where one differs."""
    await caught_up(runtime.log, runtime.pool, InvoicesView.name)
    issuer = _issuer(runtime)
    invoices = issuer.invoices
    if invoice is not None:
        await _org_of(runtime, invoice)
    found = await find_invoices(runtime.pool, named=invoice)
    wanted = [(await invoices.invoice(row["org"], row["invoice"])).issued for row in found]
    different = made_again = 0
    async for issued, derived, read in rederiving.rederive(runtime.log, runtime.pool, issuer, wanted):
        wrong = await rederiving.differences(invoices, issued, derived)
        for name, made, recorded in (
            ("JSON", derived.json, issued.json_sha256),
            ("PDF", derived.pdf, issued.pdf_sha256),
        ):
            verdict = "DIFFERS" if name in wrong else "equal"
            typer.echo(f"{name} {len(made):,} bytes, sha256 {recorded}: {verdict}")
        if "PDF" in wrong and issued.renderer != renderer():
            typer.echo(f"the PDF was made by {issued.renderer}, this is {renderer()}: compare it there")
        made_again += 1
        if wrong:
            different += 1
            typer.echo(f"{issued.number} can't be derived again: {' and '.join(wrong)} differ", err=True)
        else:
            about = (
                f"events up to position {issued.closed_at:,}"
                if isinstance(issued, InvoiceIssued)
                else "events"
            )
            typer.echo(f"{issued.number} follows from {read:,} {about}")
    if different:
        raise CommandRefused(f"{different} of {made_again} documents differ; see above")


async def publish(runtime: Runtime, file: Path) -> None:
    """Offer the plans of a file."""
    catalog = _catalog(file)
    position = await Accounts(runtime.log, runtime.clock).publish(catalog, OPERATOR)
    typer.echo(f"{catalog.version} is published (position {position}): {', '.join(catalog.plans)}")


def _model_prices(file: Path) -> ModelPrices:
    """The model prices of a file. Raises `CommandRefused`."""
    try:
        return model_prices.parse(file.read_text(encoding="utf-8"))
    except InvalidModelPrices as error:
        raise CommandRefused(f"{file}: {error}") from error


async def publish_models(runtime: Runtime, file: Path) -> None:
    """Price models by a file."""
    table = _model_prices(file)
    try:
        position = await Accounts(runtime.log, runtime.clock).publish_model_prices(table, OPERATOR)
    except VersionTaken as error:
        raise CommandRefused(f"{file}: {error}") from error
    listed = list_prices().models
    own = [name for name, price in table.models.items() if listed.get(name) != price]
    typer.echo(f"{table.version} is published (position {position}): {', '.join(own) or 'the list prices'}")


async def show_models(runtime: Runtime) -> None:
    """Dollars for a million tokens, by model."""
    table = await Accounts(runtime.log, runtime.clock).model_prices()
    typer.echo(f"{table.version}, dollars for a million tokens: input, output")
    for name, price in sorted(table.models.items()):
        own = "" if list_prices().models.get(name) == price else "\tyours"
        typer.echo(f"  {name}\t{price.standard.input / 1000:g}\t{price.standard.output / 1000:g}{own}")


async def tax(runtime: Runtime, country: str, percent: str) -> None:
    """Set, or with `none` take away, the tax of a country."""
    accounts = Accounts(runtime.log, runtime.clock)
    catalog = await accounts.catalog()
    rates = {known: rate for known, rate in catalog.seller.tax_percent.items() if known != country}
    if percent != "none":
        rates[country] = percent
    try:
        seller = Seller.model_validate(catalog.seller.model_dump() | {"tax_percent": rates})
    except ValidationError as error:
        raise CommandRefused(f"{percent!r} is no rate; write it as 19 or 8.875, or none") from error
    position = await accounts.publish(replace(catalog, seller=seller), OPERATOR)
    typer.echo(
        f"tax in {country}: {percent} (position {position}); it holds for periods that are closed from now on"
    )


async def show(runtime: Runtime) -> None:
    """The plans that are offered."""
    catalog = await Accounts(runtime.log, runtime.clock).catalog()
    typer.echo(f"{catalog.version}, sold by {catalog.seller.legal_name}")
    for plan in catalog.plans.values():
        limit = plan.entitlements.executions_per_month
        typer.echo(f"  {plan.plan}\t{plan.version}\t{'unlimited' if limit is None else limit} executions")
