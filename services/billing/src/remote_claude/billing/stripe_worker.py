"""Does what the view `billing_payments` asks for at Stripe, and records the outcome."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from remote_claude.billing.domain.invoicing import FailPayment, Observe, PayInvoice
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.projections.payments import PaymentRow, PaymentsView
from remote_claude.billing.stripe_adapter import MISSING, Observed, Stripe, StripeRefused, StripeUnavailable
from remote_claude.contracts.payments import (
    CreditNoteMirrored,
    InvoiceMirrored,
    MirroringFailed,
    StripeObjectObserved,
    WebhookHandled,
)
from remote_claude.eventsourcing import Clock, timestamp
from remote_claude.eventsourcing.events import parse_timestamp
from remote_claude.eventsourcing.postgres.effects import Done, Outbox, Park, Retry, Verdict
from remote_claude.eventsourcing.postgres.outbox_table import OutboxRow

GIVE_UP_S = 3 * 24 * 3600.0
APPEARS_WITHIN = timedelta(minutes=10)
"""How long after its webhook an object may still be missing."""


class Payments:
    """The handle to Stripe. What it does twice is done once: by idempotency keys there, by deciders here."""

    def __init__(self, client: Stripe, accounts: Accounts, invoices: Invoices, clock: Clock) -> None:
        self._stripe, self._accounts, self._invoices, self._clock = client, accounts, invoices, clock

    async def perform(self, row: OutboxRow) -> Verdict:
        """Mirror an invoice or a credit note, or fetch the object that a webhook names and act on its state."""
        about = row.payload
        try:
            if about["do"] == "mirror":
                contents = json.loads(await self._invoices.stored(about["org"], about["sha256"]))
                return Done(await self._stripe.mirror(contents, about["customer"], row.key))
            if about["do"] == "credit_note":
                return Done(
                    await self._stripe.credit_note(
                        about["object"], about["amount"], about["number"], refund=about["refund"], key=row.key
                    )
                )
            found = await self._stripe.fetch(about["object"])
        except StripeRefused as error:
            named = self._clock() - parse_timestamp(row.occurred_at)
            if str(error) == MISSING and "webhook" in about and named < APPEARS_WITHIN:
                return Retry("not_there_yet")
            return Park(str(error))
        except StripeUnavailable:
            return Retry("stripe_unavailable")
        if found is None or found.org is None:
            return Done("unrelated")
        await self.follow(found)
        return Done("observed")

    async def follow(self, found: Observed) -> None:
        """Record the present state of an organisation's object. A second time changes nothing."""
        org = found.org or ""
        if found.kind == "checkout.session" and found.status == "complete" and found.customer and found.plan:
            await self._observe(found, kind="customer", object=found.customer, status="active")
            await self._accounts.set_plan(org, found.plan, actor=found.actor, reason="checkout")
        await self._observe(found)
        if found.kind == "invoice" and found.invoice is not None:
            if found.status == "paid":
                command: Any = PayInvoice(
                    org=org, invoice=found.invoice, now=self._clock(), method="stripe", reference=found.object
                )
                await self._invoices.handle(org, command)
            elif found.status == "open" and found.attempt:
                command = FailPayment(
                    org=org, invoice=found.invoice, attempt=found.attempt, reason="payment_failed",
                    reference=found.object,
                )  # fmt: skip
                await self._invoices.handle(org, command)

    async def _observe(self, found: Observed, **changes: str) -> None:
        about: dict[str, Any] = {"kind": found.kind, "object": found.object, "status": found.status} | changes
        observed = StripeObjectObserved(
            org=found.org or "", customer=found.customer, plan=found.plan, invoice=found.invoice,
            attempt=found.attempt, amount=found.amount, observed_at=timestamp(self._clock()), **about,
        )  # fmt: skip
        await self._invoices.handle(observed.org, Observe(observed=observed))

    def outcome(self, row: OutboxRow, verdict: Done | Park) -> Any:
        """The event that settles it."""
        match verdict:
            case Done(Observed(kind="credit_note") as made):
                return CreditNoteMirrored(
                    org=row.payload["org"], invoice=row.payload["invoice"], object=made.object,
                    status=made.status,
                )  # fmt: skip
            case Done(Observed() as made):
                return InvoiceMirrored(
                    org=row.payload["org"], invoice=row.payload["invoice"], object=made.object,
                    status=made.status, page=made.page,
                )  # fmt: skip
            case Done(outcome):
                return WebhookHandled(webhook=row.payload["webhook"], outcome=outcome)
            case Park(reason) if row.payload["do"] in ("mirror", "credit_note"):
                return MirroringFailed(org=row.payload["org"], invoice=row.payload["invoice"], reason=reason)
            case Park(reason):
                return WebhookHandled(webhook=row.payload["webhook"], outcome=reason)


def outbox(payments: Payments) -> Outbox:
    """Billing's outbox, for the host to work."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Payments]:
        yield payments

    return Outbox(view=PaymentsView(), table=PaymentRow, open=opened, give_up_s=GIVE_UP_S)
