"""An invoice with everything it is derived from, signed, so that its customer can check it without the installation.

The document has the invoice, the prices, what each event counts for, and these events as they are stored, each with its
link of the hash chain. `rclaude billing verify` checks it with code of its own.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from remote_claude.billing.domain.invoicing import BillingRefusal
from remote_claude.billing.handlers import account_stream
from remote_claude.billing.invoice_signing import SigningKey
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.base import canonical_json
from remote_claude.contracts.billing import InvoiceIssued, PeriodClosed, PeriodOpened, PlanChanged
from remote_claude.eventsourcing import Clock, EventLog, timestamp
from remote_claude.eventsourcing.postgres.schemas import Pool, query_connection
from remote_claude.eventsourcing.postgres.tables import query_for
from remote_claude.runtime.archive import store

PURPOSE = b"remote-claude invoice export 1\n"
"""What is signed begins with this, so that the signature is valid for nothing else."""


class NotArchived(BillingRefusal):
    """The archive, which has the chain, does not hold every event of the invoice yet."""

    status = 503
    code = "not_archived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An event's link of the hash chain: both hashes in hexadecimal digits."""

    position: int
    previous: str
    hash: str


class Exports:
    """Exports of invoices. Raises `UnknownInvoice`, `NotArchived`."""

    def __init__(self, log: EventLog, pool: Pool, clock: Clock, invoices: Invoices, key: SigningKey) -> None:
        self._log, self._pool, self._clock = log, pool, clock
        self._invoices, self._key = invoices, key

    async def links(self, positions: Iterable[int]) -> list[Link]:
        """The links of events in the chain, in log order; those that are not archived yet are left out."""
        async with query_connection(self._pool) as connection:
            found = await store.read_links(connection, sorted(set(positions)))
        return [_link(row, previous) for row, previous in found]

    async def export(self, org: str, invoice: str) -> dict[str, Any]:
        """The signed document of an invoice."""
        issued = (await self._invoices.invoice(org, invoice)).issued
        document = json.loads(await self._invoices.stored(org, issued.json_sha256))
        async with query_for(self._pool, UsageView, org) as connection:
            bill = await bills.period_bill(connection, org, issued.period, until=1)
            evidence = await bills.evidence(connection, org, period=issued.period, until=1)
            assert bill is not None
        positions = {e.position for e in evidence} | set(await self._account_events(org, issued))
        async with query_connection(self._pool) as connection:
            rows = await store.read_links(connection, sorted(positions))
        if len(rows) < len(positions):
            raise NotArchived("The archive does not have every event of this invoice yet: try again.")
        contents = {
            "export": "invoice",
            "version": 1,
            "exported_at": timestamp(self._clock()),
            "invoice": document,
            "json_sha256": issued.json_sha256,
            "pdf_sha256": issued.pdf_sha256,
            "segments": [
                {
                    "segment": s.number,
                    "starts_at": s.starts_at,
                    "ends_at": s.ends_at,
                    "share": str(s.share),
                    "price_book": s.price_book.model_dump(mode="json"),
                }
                for s in bill.segments
            ],
            "evidence": [
                {
                    "meter": e.meter, "model": e.model, "token": e.token, "segment": e.segment, "task": e.task,
                    "attempt": e.attempt, "event_id": e.event_id, "position": e.position, "quantity": str(e.quantity),
                }
                for e in evidence
            ],
            "chain": [
                {
                    "position": row.position,
                    "subject": row.subject,
                    "headers": b64encode(row.headers).decode(),
                    "data": b64encode(row.data).decode(),
                    "previous": previous.hex(),
                    "hash": row.hash.hex(),
                }
                for row, previous in rows
            ],
            "public_key": self._key.public,
        }  # fmt: skip
        return contents | {"signature": self._key.sign(PURPOSE + canonical_json(contents))}

    async def _account_events(self, org: str, issued: InvoiceIssued) -> list[int]:
        """The positions of the events with the prices, the period and the invoice."""
        found = []
        for recorded in await self._log.read_stream(account_stream(org)):
            match recorded.event:
                case PlanChanged() if recorded.position < issued.closed_at:
                    found.append(recorded.position)
                case PeriodOpened(period=period) | PeriodClosed(period=period) if period == issued.period:
                    found.append(recorded.position)
                case InvoiceIssued(invoice=invoice) if invoice == issued.invoice:
                    found.append(recorded.position)
        return found


def _link(row: store.Row, previous: bytes) -> Link:
    return Link(position=row.position, previous=previous.hex(), hash=row.hash.hex())
