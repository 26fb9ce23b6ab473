"""Invoices from their events: tax, addresses, credit notes, late usage, numbers; and the faults that others had."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from books import Books, books
from event_examples import EXAMPLES
from rebuilding import assert_rebuild_equals_live
from remote_claude.billing import margin
from remote_claude.billing.api.invoice_models import InvoiceContents
from remote_claude.billing.coupons import Coupons
from remote_claude.billing.domain.coupons import CouponExhausted, CouponTaken, UnknownCoupon
from remote_claude.billing.domain.invoicing import CreditTooLarge, GrantCredit
from remote_claude.billing.domain.plans import builtin
from remote_claude.billing.invoice_issuing import NotConserved
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.breakdown import breakdown
from remote_claude.billing.projections.conservation import conservation
from remote_claude.billing.projections.issued import InvoicesView
from remote_claude.billing.projections.payments import PaymentsView
from remote_claude.billing.projections.usage import UsageView
from remote_claude.billing.rederive import differences, rederive
from remote_claude.billing.storage import Storage
from remote_claude.contracts.billing import (
    AdjustmentPosted,
    CouponCreated,
    CouponTerms,
    CreditGranted,
    CreditNoteIssued,
    InvoiceIssued,
    InvoiceNumberAssigned,
)
from remote_claude.contracts.payments import InvoiceMirrored, StripeObjectObserved
from remote_claude.contracts.prices import PerUnit, PriceBook
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.tail import Tail

ORG, OTHER = "org_01", "org_02"
ASSIGNED = next(event for event in EXAMPLES if isinstance(event, TaskAssigned))
DECEMBER = datetime(2026, 12, 2, tzinfo=UTC)
ADDRESS = {
    "name": "Example GmbH", "address": ["1 Some Street", "Some Town"], "country": "DE", "vat_id": "DE123456789",
    "email": "billing@example.com",
}  # fmt: skip


@pytest.fixture
async def ledger(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Books]:
    async with books(postgres_dsn, tmp_path / "objects") as made:
        yield made


async def tax(ledger: Books, **percent: str) -> None:
    catalog = await ledger.accounts.catalog()
    seller = catalog.seller.model_copy(update={"tax_percent": percent})
    await ledger.accounts.publish(replace(catalog, seller=seller), "operator")


async def test_an_invoice_has_the_address_and_the_tax_of_its_closing_and_both_are_sealed(
    ledger: Books,
) -> None:
    await ledger.accounts.open_account(ORG, "pro")
    await tax(ledger, DE="19")
    await ledger.invoices.change_customer(ORG, ADDRESS, "DE", "user_01")
    ledger.now = DECEMBER
    [issued] = await ledger.close(ORG)
    document = await ledger.document(ORG, issued.json_sha256)
    assert (
        TypeAdapter(InvoiceContents).validate_python(document) == document
    )  # its hash is that of the answer
    assert document["customer"]["name"] == "Example GmbH"
    assert (issued.subtotal, issued.tax, issued.total) == (2900, 551, 3451)
    assert [line["amount"] for line in document["lines"] if line["kind"] == "tax"] == [551]
    recorded = [event async for batch in ledger.log.read() for event in batch]
    assert not [event for event in recorded if b"Example" in event.data]
    customer = (await ledger.account(ORG)).customer
    assert customer is not None
    assert customer.details.key == f"invoices.{ORG}"  # erasing the organisation's own key leaves it


async def test_a_credit_note_takes_back_no_more_than_the_invoice_and_its_part_of_the_tax(
    ledger: Books,
) -> None:
    await ledger.accounts.open_account(ORG, "pro")
    await tax(ledger, DE="19")
    await ledger.invoices.change_customer(ORG, ADDRESS, "DE", "user_01")
    ledger.now = DECEMBER
    [issued] = await ledger.close(ORG)
    note = await ledger.issuer.correct(ORG, issued.number, 1190, "charged twice", "operator")
    document = await ledger.document(ORG, note.json_sha256)
    assert (document["document"], document["subtotal"], document["tax"]) == ("credit_note", 1000, 190)
    assert (note.number, note.refund) == ("INV-000002", None)
    assert (await ledger.invoices.invoice(ORG, issued.number)).due == 3451 - 1190
    paid = await ledger.invoices.pay(ORG, issued.number, "manual", "bank-1")
    assert paid.paid is not None
    assert paid.paid.amount == 3451 - 1190
    with pytest.raises(CreditTooLarge):
        await ledger.issuer.correct(ORG, issued.number, 2262, "too much", "operator")
    rest = await ledger.issuer.correct(ORG, issued.number, None, "goodwill", "operator")
    assert (rest.total, rest.refund) == (2261, "manual")


async def test_a_credit_note_is_rederived_byte_for_byte(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "pro")
    await tax(ledger, DE="19")
    await ledger.invoices.change_customer(ORG, ADDRESS, "DE", "user_01")
    ledger.now = DECEMBER
    [issued] = await ledger.close(ORG)
    notes = [
        await ledger.issuer.correct(ORG, issued.number, amount, "charged twice", "operator")
        for amount in (1190, None)
    ]
    again = [
        (one.number, await differences(ledger.invoices, one, derived))
        async for one, derived, _ in rederive(ledger.log, ledger.pool, ledger.issuer, [issued])
    ]
    assert again == [(one.number, []) for one in (issued, *notes)]
    [*_, (note, derived, _)] = [
        found async for found in rederive(ledger.log, ledger.pool, ledger.issuer, [issued])
    ]
    changed = replace(derived, json=derived.json.replace(b"charged twice", b"charged once!"))
    assert await differences(ledger.invoices, note, changed) == ["JSON"]


async def test_a_rebuild_takes_no_entry_away(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "enterprise")
    task = await ledger.run_task(ORG, vcpu_ms=100, nano_usd=10**9)
    await ledger.close(ORG, early=True)
    await ledger.use(ORG, task, 2, 250)  # late: after the closing
    await ledger.use(ORG, task, 1, 100)  # a second time
    await ledger.read()
    async with ledger.pool.connection() as connection:
        before = await bills.evidence(connection, ORG, period="2026-11")
    for view in (UsageView(), InvoicesView()):
        await assert_rebuild_equals_live(view, ledger.pool, ledger.log)
        assert (await rebuild(view, ledger.pool, ledger.log)).equal
    async with ledger.pool.connection() as connection:
        assert await bills.evidence(connection, ORG, period="2026-11") == before
    assert sum(e.quantity for e in before if e.meter == "vcpu_ms") == 250


async def test_usage_that_comes_late_is_an_adjustment_of_its_own_period_on_the_next_invoice(
    ledger: Books,
) -> None:
    await ledger.accounts.open_account(ORG, "enterprise")
    task = await ledger.run_task(ORG, vcpu_ms=10**9)
    ledger.now = DECEMBER
    await ledger.accounts.open_account(ORG, "enterprise")
    [first] = await ledger.close(ORG)
    assert first.total == 1100
    await ledger.use(ORG, task, 2, 3 * 10**9, at=DECEMBER - timedelta(days=3))
    ledger.now = DECEMBER + timedelta(days=31)
    await ledger.accounts.open_account(ORG, "enterprise")
    [second] = await ledger.close(ORG)
    lines = (await ledger.document(ORG, second.json_sha256))["lines"]
    assert [(line["kind"], line["period"], line["amount"]) for line in lines] == [
        ("adjustment", "2026-11", 2200)
    ]
    assert (await ledger.close(ORG)) == []


async def test_a_draft_is_what_the_invoice_says_once_the_period_is_over(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "pro")
    await ledger.run_task(ORG, nano_usd=5 * 10**9)
    await ledger.read()
    draft = await ledger.invoices.draft(ORG)
    assert (draft["state"], draft["total"]) == ("draft", 3400)
    ledger.now = DECEMBER
    assert (await ledger.invoices.draft(ORG, "2026-11"))["state"] == "grace"
    [issued] = await ledger.close(ORG)
    document = await ledger.document(ORG, issued.json_sha256)
    assert document["lines"] == draft["lines"]
    assert (await ledger.invoices.draft(ORG, "2026-11"))["state"] == "final"


async def test_numbers_of_a_seller_have_no_gaps_however_many_are_issued_at_once(ledger: Books) -> None:
    orgs = [f"org_{n:02}" for n in range(1, 9)]
    for org in orgs:
        await ledger.accounts.open_account(org, "free")
    await asyncio.gather(*(ledger.close(org, early=True) for org in orgs))
    await asyncio.gather(*(ledger.close(org, early=True) for org in orgs))
    recorded = [event async for batch in ledger.log.read() for event in batch]
    numbers = [r.event.number for r in recorded if r.type == InvoiceNumberAssigned.type]
    assert numbers == list(range(1, 9))


async def test_a_price_that_is_edited_is_not_used_for_a_past_period(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "enterprise")
    await ledger.run_task(ORG, vcpu_ms=10**9)
    catalog = builtin()
    plan = catalog.plans["enterprise"]
    dear = plan.price_book.components[0].model_copy(update={"price": "99"})
    book = plan.price_book.model_copy(update={"version": "enterprise-2", "components": (dear,)})
    plans = {
        **catalog.plans,
        "enterprise": plan.model_copy(update={"version": "enterprise-2", "price_book": book}),
    }
    await ledger.accounts.publish(replace(catalog, version="2", plans=plans), "operator")
    ledger.now = DECEMBER
    [issued] = await ledger.close(ORG)
    assert issued.total == 1100


async def test_a_negative_total_blocks_no_closing_and_is_carried_over(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "enterprise")
    taken_back = AdjustmentPosted(
        org=ORG,
        adjustment="adj_1",
        period="2026-10",
        position=1,
        amount_nano=-25 * 10**9,
        reason="correction",
    )
    await ledger.record(taken_back)
    await ledger.run_task(ORG, nano_usd=10 * 10**9)
    ledger.now = DECEMBER
    [first] = await ledger.close(ORG)
    assert (first.total, first.carried_nano) == (0, 15 * 10**9)
    await ledger.accounts.open_account(ORG, "enterprise")
    await ledger.run_task(ORG, nano_usd=20 * 10**9)
    [second] = await ledger.close(ORG, early=True)
    assert second.total == 500


async def test_a_credit_note_of_an_invoice_that_stripe_does_not_have_yet_follows_it(ledger: Books) -> None:
    said: dict[type, Any] = {type(e): e for e in EXAMPLES if e.type in PaymentsView.handles}
    customer = said[StripeObjectObserved].model_copy(update={"kind": "customer", "org": ORG})
    issued = said[InvoiceIssued].model_copy(update={"org": ORG})
    note = said[CreditNoteIssued].model_copy(update={"org": ORG, "corrects": issued.invoice})
    mirrored = said[InvoiceMirrored].model_copy(update={"org": ORG, "invoice": issued.invoice})
    async with Tail(ledger.log) as tail:
        projector = Projector(PaymentsView(), ledger.pool, ledger.log, tail)
        work = asyncio.create_task(projector.run())
        wanted = []
        for events in ([customer, issued, note], [mirrored]):
            await ledger.record(*events)
            assert await projector.wait_for(await ledger.log.last_position(), 30)
            async with ledger.pool.connection() as connection:
                found = await connection.execute(
                    "SELECT payload FROM billing_payments.payment ORDER BY position"
                )
                wanted.append([(row["do"], row.get("object")) for (row,) in await found.fetchall()])
        await assert_rebuild_equals_live(PaymentsView(), ledger.pool, ledger.log)
        work.cancel()
        await asyncio.wait([work])
    mirror = ("mirror", None)
    assert wanted == [[mirror], [mirror, ("credit_note", mirrored.object)]]


async def test_a_credit_is_spent_once_and_not_after_it_expires(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "pro")
    for name, expires in (("credit_1", None), ("credit_2", "2026-11-15T00:00:00.000000Z")):
        granted = CreditGranted(
            org=ORG, credit=name, amount_nano=40 * 10**9, expires_at=expires, reason="goodwill"
        )
        await ledger.invoices.handle(ORG, GrantCredit(granted=granted))
    ledger.now = DECEMBER
    await ledger.accounts.open_account(ORG, "pro")
    totals = [issued.total for issued in await ledger.close(ORG, early=True)]
    assert totals == [0, 2900 - 1100]


async def test_a_coupon_is_a_line_of_so_many_invoices_and_takes_no_more_than_all(ledger: Books) -> None:
    coupons = Coupons(ledger.log, lambda: ledger.now, ledger.invoices)
    await ledger.accounts.open_account(ORG, "pro")
    for code, terms in (
        ("welcome-20", CouponTerms(percent="20", periods=2)),
        ("all-of-it", CouponTerms(amount_nano=90 * 10**9)),
        ("over", CouponTerms(percent="50")),
    ):
        over = "2026-10-01T00:00:00.000000Z" if code == "over" else None
        await coupons.create(CouponCreated(coupon=code, terms=terms, redeem_by=over))
    with pytest.raises(CouponTaken):
        await coupons.create(CouponCreated(coupon="over", terms=CouponTerms(percent="60")))
    for _ in range(2):  # again changes nothing
        await coupons.redeem(ORG, "WELCOME-20", "user_1")
    await coupons.redeem(ORG, "all-of-it", "operator")
    for missing in ("over", "nothing"):
        with pytest.raises(UnknownCoupon):
            await coupons.redeem(ORG, missing, "user_1")
    ledger.now = datetime(2027, 1, 2, tzinfo=UTC)
    await ledger.accounts.open_account(ORG, "pro")
    issued = await ledger.close(ORG, early=True)
    assert [one.total for one in issued] == [0, 2900 - 580, 2900]
    document = await ledger.document(ORG, issued[0].json_sha256)
    assert TypeAdapter(InvoiceContents).validate_python(document) == document
    assert [line["amount"] for line in document["lines"] if line["kind"] == "coupon"] == [-580, -2320]
    again = [
        await differences(ledger.invoices, one, derived)
        async for one, derived, _ in rederive(ledger.log, ledger.pool, ledger.issuer, issued)
    ]
    assert again == [[], [], []]


async def test_a_coupon_is_redeemed_by_as_many_organisations_as_it_says(ledger: Books) -> None:
    coupons = Coupons(ledger.log, lambda: ledger.now, ledger.invoices)
    terms = CouponTerms(percent="20")
    await coupons.create(CouponCreated(coupon="first-two", terms=terms, max_redemptions=2))
    orgs = [f"org_{n}" for n in range(5)]
    for org in orgs:
        await ledger.accounts.open_account(org, "pro")
    tries = [coupons.redeem(org, "first-two", "user_1") for org in orgs]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    redeemed = [org for org, answer in zip(orgs, answers, strict=True) if isinstance(answer, CouponCreated)]
    assert len(redeemed) == 2
    assert sum(isinstance(answer, CouponExhausted) for answer in answers) == 3
    await coupons.redeem(redeemed[0], "first-two", "user_1")  # again changes nothing
    assert [bool((await ledger.account(org)).coupons) for org in orgs] == [org in redeemed for org in orgs]


async def test_storage_is_measured_once_a_day_and_is_a_line_that_belongs_to_nobody(ledger: Books) -> None:
    price = PerUnit(meter="storage_byte_days", price="1000000")
    catalog = await ledger.accounts.catalog()
    pro = catalog.plans["pro"].model_copy(
        update={"version": "pro-2", "price_book": PriceBook(version="pro-2", components=(price,))}
    )
    await ledger.accounts.publish(replace(catalog, plans={**catalog.plans, "pro": pro}), "operator")
    await ledger.accounts.open_account(ORG, "pro")
    await ledger.run_task(ORG)
    await ledger.keyring.create(ORG)
    await ledger.objects.put(ORG, b"output")
    stored = await ledger.objects.size(ORG)
    await ledger.read()
    storage = Storage(ledger.objects, lambda: ledger.now, ledger.invoices)
    await storage.measure()  # the day of the account's opening is free
    ledger.now += timedelta(days=1)
    for _ in range(3):
        for _ in range(2):  # a day is measured once, also by two processes
            await storage.measure()
            await Storage(ledger.objects, lambda: ledger.now, ledger.invoices).measure()
        ledger.now += timedelta(days=1)
    await ledger.read()
    sums = await conservation(ledger.pool, "2026-11", ORG)
    assert (sums.metered["storage_byte_days"], sums.breaches) == (3 * stored, {})
    async with ledger.pool.connection() as connection:
        by_person = await breakdown(connection, ORG, "person", "2026-11-01", 10)
    assert [used.quantities["storage_byte_days"] for used in by_person] == [3 * stored]
    [issued] = await ledger.close(ORG, early=True)
    lines = (await ledger.document(ORG, issued.json_sha256))["lines"]
    [line] = [line for line in lines if line["meter"] == "storage_byte_days"]
    assert line["amount"] == round(3 * stored * 10**6 / 10**7)
    [(_, again, _)] = [found async for found in rederive(ledger.log, ledger.pool, ledger.issuer, [issued])]
    assert await differences(ledger.invoices, issued, again) == []


async def test_usage_that_was_accepted_and_never_counted_blocks_closing(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "enterprise")
    await ledger.run_task(ORG, vcpu_ms=100)
    await ledger.read()
    async with ledger.pool.connection() as connection:
        await connection.execute("UPDATE billing_usage.total SET metered = metered - 1 WHERE key = 'vcpu_ms'")
    with pytest.raises(NotConserved):
        await ledger.close(ORG, early=True)


async def test_every_invoice_is_rederived_in_one_reading_of_the_log(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "enterprise")
    await ledger.accounts.open_account(OTHER, "pro")
    await ledger.run_task(ORG, vcpu_ms=10**9)
    await ledger.run_task(OTHER, nano_usd=10**9)
    issued = [*await ledger.close(ORG, early=True), *await ledger.close(OTHER, early=True)]
    again = [
        (one.number, await differences(ledger.invoices, one, derived))
        async for one, derived, _ in rederive(ledger.log, ledger.pool, ledger.issuer, issued)
    ]
    assert again == [("INV-000001", []), ("INV-000002", [])]


async def test_the_margin_is_the_bill_less_what_its_use_costs_where_it_ran(ledger: Books) -> None:
    costs = margin.parse(
        '[providers.default]\nvcpu_ms = "4"\nmodel_percent = "80"\n[providers.ecs]\nvcpu_ms = "9"\n'
    )
    await ledger.accounts.open_account(ORG, "enterprise")
    here = await ledger.run_task(ORG, vcpu_ms=10**9, nano_usd=10**9)
    there = await ledger.run_task(ORG, vcpu_ms=10**9)
    for task, provider in ((here, "local"), (there, "ecs")):
        assigned = {"task": task, "org": ORG, "provider": provider, "admission": None}
        await ledger.record(ASSIGNED.model_copy(update=assigned))
    await ledger.read()
    [found] = await margin.margins(ledger.pool, costs, 1)
    assert (found.plan, found.revenue) == ("enterprise", 2 * 11 * 10**9 + 10**9)
    assert found.cost == (4 + 9) * 10**9 + 8 * 10**8
    assert {name: (one.revenue, one.cost) for name, one in found.providers.items()} == {
        "ecs": (11 * 10**9, 9 * 10**9), "local": (12 * 10**9, 4 * 10**9 + 8 * 10**8),
    }  # fmt: skip
    with pytest.raises(margin.InvalidCosts):
        margin.parse('[providers.ecs]\nvcpu_ms = "9"\n')
