"""Invoices and credit notes as they are: looked up, drafted, paid, and who they are made out to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from remote_claude.access.keyring import Keyring
from remote_claude.billing.domain import account, invoicing
from remote_claude.billing.domain.account import BILLING, Account, Invoiced
from remote_claude.billing.domain.invoice import document as invoice_document
from remote_claude.billing.domain.invoice import draft
from remote_claude.billing.domain.invoicing import (
    BillingRefusal,
    ChangeCustomer,
    PayInvoice,
    UnknownInvoice,
)
from remote_claude.billing.domain.plans import Catalog, builtin
from remote_claude.billing.handlers import CATALOG, account_stream
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.base import canonical_json
from remote_claude.contracts.billing import CustomerDetailsChanged, PaymentMethod, Seller
from remote_claude.contracts.contexts import customer_details_context
from remote_claude.contracts.periods import period_at
from remote_claude.eventsourcing import Clock, CommandHandler, Decider, EventLog, timestamp
from remote_claude.eventsourcing.postgres.schemas import Pool, query_connection
from remote_claude.eventsourcing.postgres.tables import query_for
from remote_claude.runtime.broker.uses import INVOICE_KEYS
from remote_claude.runtime.objects import Objects

INVOICING = Decider[Any, Any](account.initial_state, invoicing.decide, account.evolve)
ACCOUNT = Decider[Any, Any](account.initial_state, lambda _, __: [], account.evolve)


class UnknownPeriod(BillingRefusal):
    """The organisation has no such period."""

    status = 404
    code = "period_not_found"


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
        await self.handle(org, command)
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
        seller = await self.seller(await self._log.last_position())
        drafted = draft(bill, state, seller, now)
        made = invoice_document(
            drafted, bill, state, seller, customer=await self.customer(state), id="", number="", issued_at=now,
            closed_at=0,
        )  # fmt: skip
        return made | {"state": stage}

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

    async def store(self, org: str, *documents: bytes) -> None:
        """Keep documents of an organisation's invoices, each under its hash."""
        await self._keyring.create(invoice_key(org))
        for document in documents:
            await self._objects.put(invoice_key(org), document)

    async def seller(self, position: int) -> Seller:
        """Who sold at a position of the log."""
        published = [r for r in await self._log.read_stream(CATALOG) if r.position <= position]
        return (Catalog.of(published[-1].event) if published else builtin()).seller
