"""The view `billing_invoices`: every invoice of every organisation, and its state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import BigInteger, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts.billing import (
    CreditNoteIssued,
    InvoiceIssued,
    InvoicePaid,
    PaymentFailed,
)
from remote_claude.contracts.payments import (
    InvoiceMirrored,
)
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import TableRow, load, reading, upsert
from remote_claude.eventsourcing.views import View


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class IssuedInvoice(Tables, table=True):
    """An invoice. Amounts are in the currency's smallest unit; `corrected` is the sum of its credit notes.

    `stripe` is the object that mirrors it. `failed_at` is when collecting it failed first, null once it is paid.
    """

    __tablename__ = "invoice"

    invoice: str = Field(primary_key=True)
    number: str = Field(index=True)
    org: str = Field(index=True)
    period: str
    currency: str
    subtotal: int = Field(sa_type=BigInteger)
    total: int = Field(sa_type=BigInteger)
    corrected: int = Field(sa_type=BigInteger)
    issued_at: str
    due_at: str
    paid_at: str | None
    failed_at: str | None
    stripe: str | None


class InvoicesView(View):
    """Folds invoices, their payments and their corrections."""

    name: ClassVar[str] = "billing_invoices"
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        e.type for e in (InvoiceIssued, InvoicePaid, PaymentFailed, InvoiceMirrored, CreditNoteIssued)
    )

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        rows = await load(connection, IssuedInvoice, {_invoice(r.event) for r in events})
        for recorded in events:
            event = recorded.event
            if isinstance(event, InvoiceIssued):
                rows[event.invoice] = _row(event)
            if (row := rows.get(_invoice(event))) is None:
                continue
            match event:
                case InvoicePaid():
                    row |= {"paid_at": event.paid_at, "failed_at": None}
                case PaymentFailed():
                    row["failed_at"] = row["failed_at"] or recorded.occurred_at
                case InvoiceMirrored():
                    row["stripe"] = event.object
                case CreditNoteIssued():
                    row["corrected"] += event.total
        await upsert(connection, IssuedInvoice, rows.values())


def _invoice(event: Any) -> str:
    """The invoice that an event is about."""
    return str(event.corrects if isinstance(event, CreditNoteIssued) else event.invoice)


def _row(event: InvoiceIssued) -> dict[str, Any]:
    names = ("invoice", "number", "org", "period", "currency", "subtotal", "total", "issued_at", "due_at")
    nothing_yet = {"corrected": 0, "paid_at": None, "failed_at": None, "stripe": None}
    return {name: getattr(event, name) for name in names} | nothing_yet


def state_of(row: dict[str, Any]) -> str:
    """`open`, `paid`, `past_due` or `corrected`, as `Invoiced.state` has it."""
    if row["paid_at"] is not None:
        return "paid"
    if row["corrected"] >= row["total"] > 0:
        return "corrected"
    return "past_due" if row["failed_at"] is not None else "open"


async def find_invoices(
    pool: Pool, *, named: str | None = None, org: str | None = None, unpaid: bool = False
) -> list[dict[str, Any]]:
    """Invoices in the order of their numbers: the one with this id or number, an organisation's, or all."""
    async with reading(pool, InvoicesView, org=org) as connection:
        found = await connection.execute(
            "SELECT * FROM invoice WHERE (%(named)s::text IS NULL OR %(named)s IN (invoice, number))"
            " AND (%(org)s::text IS NULL OR org = %(org)s) AND (NOT %(unpaid)s OR paid_at IS NULL) ORDER BY number",
            {"named": named, "org": org, "unpaid": unpaid},
        )
        return await found.fetchall()
