"""Closes periods and issues their invoices and credit notes: number, documents, event; and derives them again."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from remote_claude.billing import documents
from remote_claude.billing.domain import account
from remote_claude.billing.domain.account import BILLING, Account
from remote_claude.billing.domain.bill import Bill
from remote_claude.billing.domain.invoice import Invoice, as_bytes, credit_note, draft, due_at
from remote_claude.billing.domain.invoice import document as invoice_document
from remote_claude.billing.domain.invoicing import (
    BillingRefusal,
    ClosePeriod,
    CreditTooLarge,
    IssueCreditNote,
    IssueInvoice,
)
from remote_claude.billing.domain.numbering import NUMBERS
from remote_claude.billing.handlers import account_stream
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.caught_up import caught_up
from remote_claude.billing.projections.conservation import conservation
from remote_claude.billing.projections.late import late_usage
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.billing import (
    CreditNoteIssued,
    InvoiceIssued,
    InvoiceNumberAssigned,
    PeriodClosed,
    Seller,
)
from remote_claude.eventsourcing import Clock, CommandHandler, EventLog, stream_id, timestamp
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool, query_connection
from remote_claude.runtime.ids import derived_id

NAMESPACE = UUID("0d0a7a56-6f8e-5c6d-9a0c-3c1f5a0b7e11")
"""Ids of invoices and credit notes derive from here."""


class NotConserved(BillingRefusal):
    """What was metered in a period is not all on its bill: closing it would charge something wrong."""

    code = "not_conserved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """The two documents of an invoice or a credit note."""

    json: bytes
    pdf: bytes


class InvoiceIssuer:
    """Makes what is issued. Works beside a running service as well as in it: it reads its view."""

    def __init__(self, invoices: Invoices, log: EventLog, pool: Pool, clock: Clock) -> None:
        self.invoices = invoices
        self._log, self._pool, self._clock = log, pool, clock
        self._handler = CommandHandler(log, clock)

    async def close(
        self, org: str, *, early: bool = False, grace: timedelta = timedelta(0), actor: str = BILLING
    ) -> list[InvoiceIssued]:
        """Close every period of an organisation that is over for `grace`, and issue its invoice.

        `early` closes the running one too. Raises `NotConserved`, `ViewBehind`. What was done before is found done.
        """
        issued = []
        state = await self.invoices.account(org)
        for period in sorted(state.periods.values(), key=lambda period: period.starts_at):
            over = datetime.fromisoformat(period.ends_at) + grace <= self._clock()
            if period.period not in state.closed:
                if not (over or early):
                    continue
                await self._close(org, period.period, early=early, actor=actor)
            if period.period not in {known.issued.period for known in state.invoices.values()}:
                issued.append(await self.issue(org, period.period))
        return issued

    async def _close(self, org: str, period: str, *, early: bool, actor: str) -> None:
        position = await self._caught_up()
        if wrong := (await conservation(self._pool, period, org)).breaches:
            raise NotConserved(
                f"{org} {period} is not closed: {wrong} does not add up. Rebuild billing_usage."
            )
        state = await self.invoices.account(org)
        async with query_connection(self._pool) as connection:
            found_late = [await late_usage(connection, state, org, p, position) for p in state.closed]
        late = [part for part in found_late if part is not None]
        command = ClosePeriod(
            org=org, period=period, now=self._clock(), position=position, late=tuple(late), early=early,
            actor=actor,
        )  # fmt: skip
        await self.invoices.handle(org, command)

    async def issue(self, org: str, period: str) -> InvoiceIssued:
        """Issue the invoice of a closed period: its number, its documents, its event."""
        await self._caught_up()
        invoice = derived_id("inv", NAMESPACE, org, period)
        history = await self._log.read_stream(account_stream(org))
        closed = _closing(history, period)
        seller = await self.invoices.seller(closed.position)
        number = await self._number(seller, org, invoice)
        issued_at = timestamp(self._clock())
        async with query_connection(self._pool) as connection:
            bill = await bills.period_bill(connection, org, period, until=1)
        assert bill is not None
        state = _account_at(history, closed.position)
        drafted, made = await self._derive(bill, state, seller, invoice, number, issued_at, closed.position)
        await self.invoices.store(org, made.json, made.pdf)
        event = InvoiceIssued(
            org=org,
            invoice=invoice,
            number=number,
            seller=seller.id,
            currency=bill.currency,
            total=drafted.total,
            issued_at=issued_at,
            json_sha256=hashlib.sha256(made.json).hexdigest(),
            pdf_sha256=hashlib.sha256(made.pdf).hexdigest(),
            renderer=documents.renderer(),
            period=period,
            closed_at=closed.position,
            due_at=due_at(seller, issued_at),
            subtotal=drafted.subtotal,
            tax=drafted.tax,
            credits_used=dict(drafted.credits_used),
            coupons_used=dict(drafted.coupons_used),
            adjustments=tuple(state.adjustments),
            carried_nano=drafted.carried_nano,
            customer=state.customer.details if state.customer is not None else None,
        )
        await self.invoices.handle(org, IssueInvoice(issued=event))
        return (await self.invoices.invoice(org, invoice)).issued

    async def correct(
        self, org: str, invoice: str, amount: int | None, reason: str, actor: str
    ) -> CreditNoteIssued:
        """Issue a credit note over a part of an invoice, the rest of it without an amount.

        Raises `UnknownInvoice`, `CreditTooLarge`.
        """
        state = await self.invoices.account(org)
        known = await self.invoices.invoice(org, invoice)
        before = sum(note.corrects == known.issued.invoice for note in state.credit_notes.values())
        total = known.issued.total - known.corrected if amount is None else amount
        if not 0 < total <= known.issued.total - known.corrected:
            raise CreditTooLarge(
                f"{known.issued.number} has {known.issued.total - known.corrected} left to correct."
            )
        id = derived_id("inv", NAMESPACE, org, known.issued.invoice, str(before))
        seller = await self.invoices.seller(await self._log.last_position())
        number = await self._number(seller, org, id)
        issued_at = timestamp(self._clock())
        original = json.loads(await self.invoices.stored(org, known.issued.json_sha256))
        document = credit_note(
            original, id=id, number=number, amount=total, reason=reason, issued_at=issued_at
        )
        contents = as_bytes(document)
        made = Derived(json=contents, pdf=await asyncio.to_thread(documents.pdf, contents))
        await self.invoices.store(org, made.json, made.pdf)
        note = CreditNoteIssued(
            org=org,
            invoice=id,
            number=number,
            seller=seller.id,
            currency=known.issued.currency,
            total=total,
            tax=document["tax"],
            issued_at=issued_at,
            json_sha256=hashlib.sha256(made.json).hexdigest(),
            pdf_sha256=hashlib.sha256(made.pdf).hexdigest(),
            renderer=documents.renderer(),
            corrects=known.issued.invoice,
            reason=reason,
            actor=actor,
        )
        await self.invoices.handle(org, IssueCreditNote(issued=note))
        return (await self.invoices.account(org)).credit_notes[id]

    async def derive(self, connection: AsyncConnection[Any], org: str, issued: InvoiceIssued) -> Derived:
        """An invoice, derived again from a view that has read the log and from the events of its account."""
        history = await self._log.read_stream(account_stream(org))
        closed = _closing(history, issued.period)
        bill = await bills.period_bill(connection, org, issued.period, until=1)
        assert bill is not None
        seller = await self.invoices.seller(closed.position)
        state = _account_at(history, closed.position)
        _, made = await self._derive(
            bill, state, seller, issued.invoice, issued.number, issued.issued_at, closed.position
        )
        return made

    async def _derive(
        self, bill: Bill, state: Account, seller: Seller, id: str, number: str, issued_at: str, closed_at: int
    ) -> tuple[Invoice, Derived]:
        drafted = draft(bill, state, seller, issued_at)
        contents = as_bytes(
            invoice_document(
                drafted, bill, state, seller, customer=await self.invoices.customer(state), id=id, number=number,
                issued_at=issued_at, closed_at=closed_at,
            )
        )  # fmt: skip
        made = await asyncio.to_thread(documents.pdf, contents)
        return drafted, Derived(json=contents, pdf=made)

    async def _number(self, seller: Seller, org: str, document: str) -> str:
        stream = stream_id("billing", None, "seller", seller.id)
        command = InvoiceNumberAssigned(seller=seller.id, number=0, customer=org, document=document)
        await self._handler.handle(NUMBERS, stream, command)
        (_, known), _ = await self._handler.load(NUMBERS, stream)
        return f"{seller.prefix}{known[document]:06}"

    async def _caught_up(self) -> int:
        return await caught_up(self._log, self._pool, UsageView.name)


def _closing(history: list[RecordedEvent], period: str) -> RecordedEvent:
    return next(r for r in history if r.type == PeriodClosed.type and r.event.period == period)


def _account_at(history: list[RecordedEvent], position: int) -> Account:
    state = account.initial_state
    for recorded in history:
        if recorded.position <= position:
            state = account.evolve(state, recorded.event)
    return state
