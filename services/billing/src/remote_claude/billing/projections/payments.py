"""The view `billing_payments`: what is to be done at the payment provider and has no outcome yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import Index, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts.billing import (
    CreditNoteIssued,
    InvoiceIssued,
)
from remote_claude.contracts.payments import (
    CreditNoteMirrored,
    InvoiceMirrored,
    MirroringFailed,
    StripeObjectObserved,
    WebhookHandled,
    WebhookReceived,
)
from remote_claude.eventsourcing import stream_id
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.outbox_table import EffectChanges, OutboxRow, effect
from remote_claude.eventsourcing.postgres.tables import Row, TableRow, delete, load, upsert
from remote_claude.eventsourcing.views import View


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class StripeCustomer(Tables, table=True):
    """The customer that Stripe has for an organisation."""

    __tablename__ = "customer"
    org: str = Field(primary_key=True)
    customer: str


class MirroredInvoice(Tables, table=True):
    """The object that Stripe has for an invoice."""

    __tablename__ = "mirrored"
    invoice: str = Field(primary_key=True)
    object: str


class WaitingCreditNote(Tables, table=True):
    """A credit note of an invoice that Stripe does not have yet: it follows once the invoice is there."""

    __tablename__ = "waiting_credit_note"
    invoice: str = Field(primary_key=True)
    corrects: str = Field(index=True)
    payload: dict[str, Any] = Field(sa_type=JSONB)


class PaymentRow(OutboxRow, Tables, table=True):
    """An invoice or a credit note to mirror (its lane is the organisation), or an object to fetch (its lane is the object)."""

    __tablename__ = "payment"
    __table_args__ = (Index("payment_by_lane", "lane", "position"),)


class PaymentsView(View):
    name: ClassVar[str] = "billing_payments"
    version: ClassVar[int] = 3
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        e.type
        for e in (
            CreditNoteIssued,
            CreditNoteMirrored,
            InvoiceIssued,
            InvoiceMirrored,
            MirroringFailed,
            StripeObjectObserved,
            WebhookReceived,
            WebhookHandled,
        )
    )
    pace: ClassVar[float] = 0.1  # as often as the outbox looks

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        orgs = {r.event.org for r in events if r.type == InvoiceIssued.type}
        customers = await load(connection, StripeCustomer, orgs)
        corrected = {r.event.corrects for r in events if r.type == CreditNoteIssued.type}
        mirrored = await load(connection, MirroredInvoice, corrected)
        waiting = await _waiting(
            connection, {r.event.invoice for r in events if r.type == InvoiceMirrored.type}
        )
        made: dict[str, dict[str, Any]] = {}
        changed: dict[str, dict[str, Any]] = {}
        sent: set[str] = set()
        payments = EffectChanges(PaymentRow)
        for recorded in events:
            match recorded.event:
                case StripeObjectObserved(kind="customer") as e:
                    changed[e.org] = customers[e.org] = {"org": e.org, "customer": e.object}
                case InvoiceIssued() as e if e.total and e.org in customers:
                    stream = stream_id("billing", e.org, "account", e.org)
                    payload: dict[str, Any] = {
                        "do": "mirror",
                        "org": e.org,
                        "invoice": e.invoice,
                        "sha256": e.json_sha256,
                    }
                    payload["customer"] = customers[e.org]["customer"]
                    payments.add(effect(recorded, "mirror", lane=e.org, stream=stream, payload=payload))
                case CreditNoteIssued() as e:
                    payload = {"do": "credit_note", "org": e.org, "invoice": e.invoice, "number": e.number}
                    payload |= {"amount": e.total, "refund": e.refund == "stripe"}
                    if e.corrects in mirrored:
                        payments.add(_credit_note(recorded, payload, mirrored[e.corrects]["object"]))
                    else:
                        waiting[e.invoice] = {
                            "invoice": e.invoice,
                            "corrects": e.corrects,
                            "payload": payload,
                        }
                case WebhookReceived() as e:
                    payload = {"do": "fetch", "webhook": e.webhook, "object": e.object, "kind": e.kind}
                    payments.add(
                        effect(recorded, "fetch", lane=e.object, stream=recorded.stream, payload=payload)
                    )
                case InvoiceMirrored() | CreditNoteMirrored() | MirroringFailed() | WebhookHandled() as e:
                    if isinstance(e, InvoiceMirrored):
                        row = {"invoice": e.invoice, "object": e.object}
                        made[e.invoice] = mirrored[e.invoice] = row
                        for note in [n for n in waiting.values() if n["corrects"] == e.invoice]:
                            payments.add(_credit_note(recorded, note["payload"], e.object))
                            sent.add(note["invoice"])
                            del waiting[note["invoice"]]
                    payments.settle(recorded)
        await upsert(connection, StripeCustomer, changed.values())
        await upsert(connection, MirroredInvoice, made.values())
        await upsert(connection, WaitingCreditNote, waiting.values())
        await delete(connection, WaitingCreditNote, sorted(sent))
        await payments.write(connection)


async def _waiting(connection: AsyncConnection[Any], mirrored: set[str]) -> dict[str, Row]:
    """The credit notes that wait for these invoices, by their id."""
    found = await connection.execute(
        "SELECT invoice, corrects, payload FROM waiting_credit_note WHERE corrects = ANY (%s) ORDER BY invoice",
        [sorted(mirrored)],
    )
    return {
        row[0]: {"invoice": row[0], "corrects": row[1], "payload": row[2]} for row in await found.fetchall()
    }


def _credit_note(cause: RecordedEvent, payload: Row, object: str) -> Row:
    """The effect of a credit note, once Stripe has its invoice."""
    org = payload["org"]
    return effect(
        cause,
        f"credit note {payload['number']}",
        lane=org,
        stream=stream_id("billing", org, "account", org),
        payload=payload | {"object": object},
    )
