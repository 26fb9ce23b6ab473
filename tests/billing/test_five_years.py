"""Five years of a seller: plans and prices change, usage comes late, money is given back; and the books balance."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from books import Books, books
from remote_claude.billing.domain.invoicing import GrantCredit
from remote_claude.billing.domain.plans import builtin
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.conservation import conservation
from remote_claude.billing.rederive import differences, rederive
from remote_claude.contracts.billing import CreditGranted, InvoiceIssued, InvoiceNumberAssigned

ORG = "org_01"
PLANS = {0: "free", 4: "pro", 20: "enterprise", 33: "pro", 41: "free", 44: "enterprise"}
"""The plan that is chosen in a month, counted from the first."""


@pytest.mark.parametrize("months", [15, pytest.param(60, marks=pytest.mark.nightly)])
async def test_after_years_every_invoice_is_rederived_and_the_books_balance(
    postgres_dsn: str, tmp_path: Path, months: int
) -> None:
    async with books(postgres_dsn, tmp_path / "objects") as ledger:
        issued = await _live(ledger, Random(5), months)
        assert len(issued) == months
        await ledger.read()
        found = [
            await differences(ledger.invoices, one, derived)
            async for one, derived, _ in rederive(ledger.log, ledger.pool, ledger.issuer, issued)
        ]
        assert found == [[]] * (months + len((await ledger.account(ORG)).credit_notes))
        await _balance(ledger, issued)


async def _live(ledger: Books, random: Random, months: int) -> list[InvoiceIssued]:
    """So many months from January 2024, a leap year. Returns the invoices."""
    ledger.now = datetime(2024, 1, 1, 9, tzinfo=UTC)
    await ledger.accounts.open_account(ORG, "free")
    issued: list[InvoiceIssued] = []
    unfinished: tuple[str, int] | None = None
    for month in range(months):
        first = datetime(2024 + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        ledger.now = first + timedelta(hours=10)
        if month in PLANS and month:
            ledger.now = first + timedelta(days=random.randrange(1, 27), seconds=random.randrange(86400))
            await ledger.accounts.set_plan(ORG, PLANS[month])
        if month % 17 == 5:
            await _raise_prices(ledger, month)
        if unfinished is not None:  # what the last period's invoice could not have
            task, vcpu_ms = unfinished
            await ledger.use(ORG, task, 2, vcpu_ms * 2, at=first - timedelta(seconds=1))
        task = await ledger.run_task(ORG, vcpu_ms=random.randrange(10**9), nano_usd=random.randrange(10**10))
        unfinished = (task, 10**9) if month % 7 == 3 else None
        if month % 12 == 1:  # the last second of February, in a leap year the 29th
            ledger.now = first.replace(month=3) - timedelta(seconds=1)
            await ledger.run_task(ORG, vcpu_ms=10**6)
        if month % 10 == 2:
            credit = CreditGranted(
                org=ORG, credit=f"credit_{month}", amount_nano=7 * 10**9, reason="goodwill"
            )
            await ledger.invoices.handle(ORG, GrantCredit(granted=credit))
        ledger.now = (first + timedelta(days=32)).replace(day=1) + timedelta(hours=3)
        await ledger.accounts.open_account(ORG, "free")
        [invoice] = await ledger.close(ORG)
        issued.append(invoice)
        if invoice.total and month % 9 == 0:
            await ledger.issuer.correct(ORG, invoice.number, invoice.total // 3 + 1, "goodwill", "operator")
        if invoice.total and month % 5:
            await ledger.invoices.pay(ORG, invoice.number, "manual", f"bank-{month}")
    return issued


async def _raise_prices(ledger: Books, month: int) -> None:
    catalog = builtin()
    plan = catalog.plans["enterprise"]
    dearer = [
        c.model_copy(update={"price": f"{11 + month}.25"}) if getattr(c, "meter", "") == "vcpu_ms" else c
        for c in plan.price_book.components
    ]
    book = plan.price_book.model_copy(update={"version": f"enterprise-{month}", "components": tuple(dearer)})
    plans = {
        **catalog.plans,
        "enterprise": plan.model_copy(update={"version": book.version, "price_book": book}),
    }
    await ledger.accounts.publish(replace(catalog, version=f"v{month}", plans=plans), "operator")


async def _balance(ledger: Books, issued: list[InvoiceIssued]) -> None:
    """What was metered is on a line or in an adjustment; numbers have no gap; money adds up."""
    state = await ledger.account(ORG)
    metered: Counter[str] = Counter()
    billed: Counter[str] = Counter()
    async with ledger.pool.connection() as connection:
        for period in state.periods:
            for e in await bills.evidence(connection, ORG, period=period):
                metered[e.meter] += e.quantity
            assert not any((await conservation(ledger.pool, period, ORG)).unaccounted.values())
    owed = Counter[str]()
    for one in issued:
        document = await ledger.document(ORG, one.json_sha256)
        for line in document["lines"]:
            if line["kind"] == "usage" and line["meter"] not in ("subscription", "minimum"):
                billed[line["meter"]] += int(line["quantity"])
        assert one.total == sum(line["amount"] for line in document["lines"]) >= 0
    for adjustment in state.posted:
        for quantity in adjustment.quantities:
            billed[quantity.meter] += quantity.quantity
    assert billed == metered
    assert state.posted
    assert not state.adjustments
    for known in state.invoices.values():
        paid = known.paid.amount if known.paid is not None else 0
        refunded = sum(
            n.total for n in state.credit_notes.values() if n.corrects == known.issued.invoice and n.refund
        )
        owed[known.state] += known.issued.total - paid - known.corrected + refunded - known.due
    assert not any(owed.values())
    recorded = [event async for batch in ledger.log.read() for event in batch]
    numbers = [r.event.number for r in recorded if r.type == InvoiceNumberAssigned.type]
    assert numbers == list(range(1, len(issued) + len(state.credit_notes) + 1))
