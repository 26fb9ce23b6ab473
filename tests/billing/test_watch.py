"""What billing watches: quotas that run out, invoices that stay unpaid, and Stripe; and the mails about it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from books import Books, books
from remote_claude.billing.domain.invoicing import FailPayment
from remote_claude.billing.mails import Mails
from remote_claude.billing.projections.mail import MailRow, MailView
from remote_claude.billing.projections.payments import PaymentRow, PaymentsView
from remote_claude.billing.stripe_adapter import Observed, Stripe
from remote_claude.billing.stripe_worker import Payments
from remote_claude.billing.watch import BillingWatch
from remote_claude.contracts.billing import (
    InvoiceIssued,
    InvoicePaid,
    MailFailed,
    MailSent,
    PlanChanged,
    QuotaThresholdReached,
)
from remote_claude.contracts.payments import (
    InvoiceMirrored,
    ReconciliationDrift,
    WebhookReceived,
)
from remote_claude.eventsourcing.postgres.effects import Done, Park, Retry
from remote_claude.eventsourcing.postgres.tables import reading
from remote_claude.runtime.embedded.home import free_port
from stripe_double import KEY, SECRET, StripeDouble, stripe_double

ORG = "org_01"
GRACE = timedelta(days=14)
ADDRESS = {
    "name": "Example GmbH", "address": ["1 Some Street"], "country": "DE", "vat_id": None, "email": "ada@example.com",
}  # fmt: skip


class Inbox(list[Message]):
    """What a mail server has taken."""

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mail() -> Iterator[tuple[Inbox, str]]:
    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=free_port())
    server.start()
    yield inbox, f"smtp+plain://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
async def ledger(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Books]:
    async with books(postgres_dsn, tmp_path / "objects") as made:
        yield made


def watch(ledger: Books) -> BillingWatch:
    return BillingWatch(ledger.pool, lambda: ledger.now, ledger.accounts, ledger.invoices, "free", GRACE)


async def events(ledger: Books, type: str) -> list[Any]:
    return [r.event async for batch in ledger.log.read() for r in batch if r.type == type]


async def test_each_threshold_of_a_quota_is_recorded_once_a_period(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "free")
    for _ in range(80):
        await ledger.run_task(ORG)
    await ledger.read()
    for _ in range(2):
        await watch(ledger).quotas()  # another process looks as well
    assert [(e.percent, e.used, e.limit) for e in await events(ledger, QuotaThresholdReached.type)] == [
        (50, 80, 100), (80, 80, 100),
    ]  # fmt: skip


async def test_an_invoice_that_can_not_be_collected_ends_the_plan_after_the_grace(ledger: Books) -> None:
    await ledger.accounts.open_account(ORG, "pro")
    ledger.now = datetime(2026, 12, 2, tzinfo=UTC)
    [issued] = await ledger.close(ORG)
    failed = FailPayment(org=ORG, invoice=issued.invoice, attempt=1, reason="card_declined")
    await ledger.invoices.handle(ORG, failed)
    await ledger.read()
    ledger.now += GRACE - timedelta(hours=1)
    await watch(ledger).unpaid()
    assert (await ledger.account(ORG)).plan == "pro"
    ledger.now += timedelta(hours=2)
    await watch(ledger).unpaid()
    await watch(ledger).unpaid()
    last = (await events(ledger, PlanChanged.type))[-1]
    assert (last.plan, last.reason) == ("free", "unpaid")
    assert len(await events(ledger, PlanChanged.type)) == 2


async def test_an_invoice_is_mailed_once_with_its_documents(ledger: Books, mail: tuple[Inbox, str]) -> None:
    await ledger.accounts.open_account(ORG, "pro")
    await ledger.invoices.change_customer(ORG, ADDRESS, "DE", "user_01")
    [issued] = await ledger.close(ORG, early=True)
    await ledger.read()
    async with reading(ledger.pool, MailView, org=None) as connection:
        [row] = [MailRow(**r) for r in await (await connection.execute("SELECT * FROM mail")).fetchall()]
    inbox, url = mail
    unset = Mails(ledger.invoices, "", "")
    assert unset.outcome(row, Park("no_mail_server")) == MailFailed(
        org=ORG, about="invoice", reference=issued.invoice, reason="no_mail_server"
    )
    assert await unset.perform(row) == Park("no_mail_server")
    mails = Mails(ledger.invoices, url, "billing@example.com")
    assert await mails.perform(row) == Done(None)
    [message] = inbox
    assert (message["To"], message["Subject"]) == ("ada@example.com", "Invoice INV-000001")
    names = [part.get_filename() for part in message.walk() if part.get_filename()]
    assert names == ["INV-000001.pdf", "INV-000001.json"]
    assert mails.outcome(row, Done(None)) == MailSent(org=ORG, about="invoice", reference=issued.invoice)


async def mirrored_at(ledger: Books, double: StripeDouble) -> tuple[InvoiceIssued, Stripe, Observed]:
    """An invoice of an organisation that has left a card; its webhooks are lost."""
    double.delivery = "drop"
    await ledger.accounts.open_account(ORG, "pro")
    [issued] = await ledger.close(ORG, early=True)
    document = await ledger.document(ORG, issued.json_sha256)
    client = Stripe(KEY, SECRET, double.url)
    session = await client.checkout(
        ORG, "pro", "user_01", customer=None, back="http://x/", text="Pro", key="k1"
    )
    double.complete(session.page or "")
    await client.fetch(session.object)
    return issued, client, await client.mirror(document, session.customer or "", "key-1")


async def test_webhooks_in_any_order_and_before_their_object_end_in_its_present_state(ledger: Books) -> None:
    with stripe_double() as double:
        issued, client, made = await mirrored_at(ledger, double)
        payments = Payments(client, ledger.accounts, ledger.invoices, lambda: ledger.now)
        for number, kind in enumerate(("invoice.paid", "invoice.payment_failed", "invoice.paid")):
            await ledger.record(
                WebhookReceived(
                    webhook=f"hook_{number:026}", provider_event=f"evt_{number}", kind=kind,
                    object=made.object, api_version=None, payload_sha256="0" * 64,
                )
            )  # fmt: skip
        await ledger.read()
        async with reading(ledger.pool, PaymentsView, org=None) as connection:
            found = await connection.execute("SELECT * FROM payment ORDER BY position DESC")
            rows = [PaymentRow(**row) for row in await found.fetchall()]
        webhooks = [row for row in rows if row.payload["do"] == "fetch"]
        double.missing = 1
        assert await payments.perform(webhooks[0]) == Retry("not_there_yet")
        assert [await payments.perform(row) for row in webhooks] == [Done("observed")] * 3
        assert (await ledger.invoices.invoice(ORG, issued.number)).state == "paid"
        double.missing = 1
        ledger.now += timedelta(hours=1)
        assert await payments.perform(webhooks[0]) == Park("resource_missing")
    assert len(await events(ledger, InvoicePaid.type)) == 1


async def test_a_payment_whose_webhook_was_lost_is_found_and_the_drift_is_recorded_once(
    ledger: Books,
) -> None:
    with stripe_double() as double:
        issued, client, made = await mirrored_at(ledger, double)
        await ledger.record(
            InvoiceMirrored(org=ORG, invoice=issued.invoice, object=made.object, status=made.status)
        )
        await ledger.read()
        payments = Payments(client, ledger.accounts, ledger.invoices, lambda: ledger.now)
        watching = watch(ledger)
        assert await watching.reconcile(client, payments) == 1
        assert (await ledger.invoices.invoice(ORG, issued.number)).state == "paid"
        await ledger.read()
        assert await watching.reconcile(client, payments) == 0
    [drift] = await events(ledger, ReconciliationDrift.type)
    assert (drift.field, drift.ours, drift.theirs) == ("status", "open", "paid")
