"""Closes periods, issues their invoices, explains them, and derives them again from the log."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from remote_claude.access.keyring import Keyring
from remote_claude.billing import documents
from remote_claude.billing.domain import account, invoicing
from remote_claude.billing.domain.account import BILLING, Account, Invoiced
from remote_claude.billing.domain.bill import Bill
from remote_claude.billing.domain.invoice import (
    Invoice,
    as_bytes,
    credit_note,
    draft,
    due_at,
)
from remote_claude.billing.domain.invoice import document as invoice_document
from remote_claude.billing.domain.invoicing import (
    BillingRefusal,
    ChangeCustomer,
    ClosePeriod,
    CreditTooLarge,
    IssueCreditNote,
    IssueInvoice,
    PayInvoice,
    UnknownInvoice,
)
from remote_claude.billing.domain.numbering import NUMBERS
from remote_claude.billing.domain.plans import Catalog, builtin
from remote_claude.billing.handlers import CATALOG, account_stream
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.caught_up import caught_up
from remote_claude.billing.projections.conservation import conservation
from remote_claude.billing.projections.late import late_usage
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.base import canonical_json
from remote_claude.contracts.billing import (
    CreditNoteIssued,
    CustomerDetailsChanged,
    InvoiceIssued,
    InvoiceNumberAssigned,
    PaymentMethod,
    PeriodClosed,
    Seller,
)
from remote_claude.contracts.contexts import customer_details_context
from remote_claude.contracts.periods import period_at
from remote_claude.eventsourcing import Clock, CommandHandler, Decider, EventLog, stream_id, timestamp
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool, query_connection
from remote_claude.eventsourcing.postgres.tables import query_for
from remote_claude.runtime.broker.uses import INVOICE_KEYS
from remote_claude.runtime.ids import derived_id
from remote_claude.runtime.objects import Objects

NAMESPACE = UUID("0d0a7a56-6f8e-5c6d-9a0c-3c1f5a0b7e11")

INVOICING = Decider[Any, Any](account.initial_state, invoicing.decide, account.evolve)
ACCOUNT = Decider[Any, Any](account.initial_state, lambda _, __: [], account.evolve)


class NotConserved(BillingRefusal):
    """What was metered in a period is not all on its bill: closing it would charge something wrong."""

    code = "not_conserved"


class UnknownPeriod(BillingRefusal):
    """The organisation has no such period."""

    status = 404
    code = "period_not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """The two documents of an invoice or a credit note."""

    json: bytes
    pdf: bytes


def invoice_key(org: str) -> str:
    """The data key of an organisation's invoices: kept for the legal term when its own is erased."""
    return f"{INVOICE_KEYS}.{org}"


class Invoices:
    """Commands and queries on invoices. Works beside a running service as well as in it: it reads its view."""

    def __init__(self, log: EventLog, pool: Pool, objects: Objects, clock: Clock, keyring: Keyring) -> None:
        self._log, self._pool, self._objects, self._clock = log, pool, objects, clock
        self._keyring = keyring
        self._handler = CommandHandler(log, clock)

    async def account(self, org: str) -> Account:
        """The account of an organisation."""
        state, _ = await self._handler.load(ACCOUNT, account_stream(org))
        found: Account = state
        return found

    async def invoice(self, org: str, invoice: str) -> Invoiced:
        """An invoice by its id or its number. Raises `UnknownInvoice`."""
        for known in (await self.account(org)).invoices.values():
            if invoice in (known.issued.invoice, known.issued.number):
                return known
        raise UnknownInvoice(f"There is no invoice {invoice[:64]!r}. `rclaude billing invoices` lists yours.")

    async def organisations(self) -> list[str]:
        """Every organisation that has an account."""
        async with query_connection(self._pool) as connection:
            found = await connection.execute("SELECT org FROM billing_usage.account ORDER BY org")
            return [row[0] for row in await found.fetchall()]

    async def close(
        self, org: str, *, early: bool = False, grace: timedelta = timedelta(0), actor: str = BILLING
    ) -> list[InvoiceIssued]:
        """Close every period of an organisation that is over for `grace`, and issue its invoice.

        `early` closes the running one too. Raises `NotConserved`, `ViewBehind`. What was done before is found done.
        """
        issued = []
        state = await self.account(org)
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
        state = await self.account(org)
        async with query_connection(self._pool) as connection:
            found_late = [await late_usage(connection, state, org, p, position) for p in state.closed]
        late = [part for part in found_late if part is not None]
        command = ClosePeriod(
            org=org, period=period, now=self._clock(), position=position, late=tuple(late), early=early,
            actor=actor,
        )  # fmt: skip
        await self._handler.handle(INVOICING, account_stream(org), command)

    async def issue(self, org: str, period: str) -> InvoiceIssued:
        """Issue the invoice of a closed period: its number, its documents, its event."""
        await self._caught_up()
        invoice = derived_id("inv", NAMESPACE, org, period)
        history = await self._log.read_stream(account_stream(org))
        closed = _closing(history, period)
        seller = await self._seller(closed.position)
        number = await self._number(seller, org, invoice)
        issued_at = timestamp(self._clock())
        async with query_connection(self._pool) as connection:
            bill = await bills.period_bill(connection, org, period, until=1)
        assert bill is not None
        state = _account_at(history, closed.position)
        drafted, made = await self._derive(bill, state, seller, invoice, number, issued_at, closed.position)
        await self._keep(org, made)
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
        await self._handler.handle(INVOICING, account_stream(org), IssueInvoice(issued=event))
        return (await self.invoice(org, invoice)).issued

    def line(self, known: Invoiced, document: Mapping[str, Any], number: int) -> dict[str, Any]:
        """A line of an invoice. Raises `UnknownInvoice`."""
        for line in document["lines"]:
            if line["line"] == number:
                return dict(line)
        raise UnknownInvoice(f"{known.issued.number} has no line {number}; it has {len(document['lines'])}.")

    async def handle(self, org: str, command: invoicing.InvoicingCommand) -> None:
        """Record what follows from a command on an account."""
        await self._handler.handle(INVOICING, account_stream(org), command)

    async def pay(
        self,
        org: str,
        invoice: str,
        method: PaymentMethod,
        reference: str | None,
        actor: str = BILLING,
    ) -> Invoiced:
        """Record that an invoice was paid. Raises `UnknownInvoice`."""
        known = await self.invoice(org, invoice)
        command = PayInvoice(
            org=org, invoice=known.issued.invoice, now=self._clock(), method=method, reference=reference,
            actor=actor,
        )  # fmt: skip
        await self._handler.handle(INVOICING, account_stream(org), command)
        return await self.invoice(org, invoice)

    async def draft(self, org: str, period: str | None = None) -> dict[str, Any]:
        """A draft of a period's invoice, as of now, the running one unless named. Raises `UnknownPeriod`.

        `state` is `draft` while the period runs, `grace` until it is closed, `final` once it is invoiced.
        """
        state = await self.account(org)
        name = period or period_at(state.anchor, self._clock()).id
        async with query_for(self._pool, UsageView, org) as connection:
            bill = await bills.period_bill(connection, org, name)
        if bill is None:
            raise UnknownPeriod(f"No billing period {name} has been opened for this organisation.")
        invoiced = {known.issued.period for known in state.invoices.values()}
        now = timestamp(self._clock())
        stage = "final" if name in invoiced else "grace" if bill.ends_at <= now else "draft"
        seller = await self._seller(await self._log.last_position())
        drafted = draft(bill, state, seller, now)
        made = invoice_document(
            drafted, bill, state, seller, customer=await self.customer(state), id="", number="", issued_at=now,
            closed_at=0,
        )  # fmt: skip
        return made | {"state": stage}

    async def correct(
        self, org: str, invoice: str, amount: int | None, reason: str, actor: str
    ) -> CreditNoteIssued:
        """Issue a credit note over a part of an invoice, the rest of it without an amount.

        Raises `UnknownInvoice`, `CreditTooLarge`.
        """
        state = await self.account(org)
        known = await self.invoice(org, invoice)
        before = sum(note.corrects == known.issued.invoice for note in state.credit_notes.values())
        total = known.issued.total - known.corrected if amount is None else amount
        if not 0 < total <= known.issued.total - known.corrected:
            raise CreditTooLarge(
                f"{known.issued.number} has {known.issued.total - known.corrected} left to correct."
            )
        id = derived_id("inv", NAMESPACE, org, known.issued.invoice, str(before))
        seller = await self._seller(await self._log.last_position())
        number = await self._number(seller, org, id)
        issued_at = timestamp(self._clock())
        original = json.loads(await self.stored(org, known.issued.json_sha256))
        document = credit_note(
            original, id=id, number=number, amount=total, reason=reason, issued_at=issued_at
        )
        contents = as_bytes(document)
        made = Derived(json=contents, pdf=await asyncio.to_thread(documents.pdf, contents))
        await self._keep(org, made)
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
        await self.handle(org, IssueCreditNote(issued=note))
        return (await self.account(org)).credit_notes[id]

    async def customer(self, state: Account) -> dict[str, Any] | None:
        """Name, address, VAT id and e-mail of who invoices are made out to."""
        if state.customer is None:
            return None
        context = customer_details_context(state.customer.org)
        found: dict[str, Any] = json.loads(await self._keyring.open(state.customer.details, context))
        return found

    async def change_customer(self, org: str, details: Mapping[str, Any], country: str, actor: str) -> None:
        """Make invoices out to somebody else, from the next closing on."""
        key = await self._keyring.create(invoice_key(org))
        sealed = key.seal(canonical_json(dict(details)).decode(), customer_details_context(org))
        changed = CustomerDetailsChanged(
            org=org, details=sealed, country=country, mailed=bool(details.get("email")), actor=actor
        )
        await self.handle(org, ChangeCustomer(changed=changed))

    async def stored(self, org: str, sha256: str) -> bytes:
        """A document of an organisation's invoices, by its hash."""
        return await self._objects.get(invoice_key(org), sha256)

    async def _keep(self, org: str, made: Derived) -> None:
        await self._keyring.create(invoice_key(org))
        await self._objects.put(invoice_key(org), made.json)
        await self._objects.put(invoice_key(org), made.pdf)

    async def derive(self, connection: AsyncConnection[Any], org: str, issued: InvoiceIssued) -> Derived:
        """An invoice, derived again from a view that has read the log and from the events of its account."""
        history = await self._log.read_stream(account_stream(org))
        closed = _closing(history, issued.period)
        bill = await bills.period_bill(connection, org, issued.period, until=1)
        assert bill is not None
        seller = await self._seller(closed.position)
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
                drafted, bill, state, seller, customer=await self.customer(state), id=id, number=number,
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

    async def _seller(self, position: int) -> Seller:
        """Who sold at a position of the log."""
        published = [r for r in await self._log.read_stream(CATALOG) if r.position <= position]
        return (Catalog.of(published[-1].event) if published else builtin()).seller

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
