"""The view `billing_mail`: mails that are to be sent and have no outcome yet. Reads no ciphertext."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import Index, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts.billing import (
    CreditNoteIssued,
    CustomerDetailsChanged,
    InvoiceIssued,
    MailFailed,
    MailSent,
    PaymentFailed,
    QuotaThresholdReached,
)
from remote_claude.eventsourcing import stream_id
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.outbox_table import EffectChanges, OutboxRow, effect
from remote_claude.eventsourcing.postgres.tables import TableRow, delete, load, upsert
from remote_claude.eventsourcing.views import View


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class Recipient(Tables, table=True):
    """An organisation that has an e-mail address for its invoices."""

    __tablename__ = "recipient"
    org: str = Field(primary_key=True)


class MailRow(OutboxRow, Tables, table=True):
    """A mail to send. Its lane is the organisation."""

    __tablename__ = "mail"
    __table_args__ = (Index("mail_by_lane", "lane", "position"),)


class MailView(View):
    """Folds the mails to organisations."""

    name: ClassVar[str] = "billing_mail"
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        e.type
        for e in (
            CustomerDetailsChanged,
            InvoiceIssued,
            CreditNoteIssued,
            PaymentFailed,
            QuotaThresholdReached,
            MailSent,
            MailFailed,
        )
    )
    pace: ClassVar[float] = 0.1  # as often as the outbox looks

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        recipients = set(await load(connection, Recipient, {r.event.org for r in events}))
        before = set(recipients)
        mails = EffectChanges(MailRow)
        for recorded in events:
            match recorded.event:
                case CustomerDetailsChanged() as e:
                    (recipients.add if e.mailed else recipients.discard)(e.org)
                case MailSent() | MailFailed():
                    mails.settle(recorded)
                case e if e.org in recipients:
                    stream = stream_id("billing", e.org, "account", e.org)
                    payload = {"org": e.org} | _about(e)
                    mails.add(effect(recorded, "mail", lane=e.org, stream=stream, payload=payload))
        await upsert(connection, Recipient, [{"org": org} for org in sorted(recipients - before)])
        await delete(connection, Recipient, sorted(before - recipients))
        await mails.write(connection)


def _about(event: Any) -> dict[str, Any]:
    """What a mail is about; `reference` is an invoice's or credit note's id, or a period."""
    match event:
        case CreditNoteIssued() | InvoiceIssued():
            about = "credit_note" if isinstance(event, CreditNoteIssued) else "invoice"
            of_document = ("number", "currency", "total", "json_sha256", "pdf_sha256")
            return {"about": about, "reference": event.invoice} | {n: getattr(event, n) for n in of_document}
        case PaymentFailed():
            return {"about": "payment_failed", "reference": event.invoice, "attempt": event.attempt}
        case QuotaThresholdReached():
            of_quota = ("meter", "percent", "used", "limit")
            return {"about": "quota", "reference": event.period} | {n: getattr(event, n) for n in of_quota}
    raise AssertionError(event)
