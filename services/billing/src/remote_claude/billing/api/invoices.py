"""Invoices: the list, one, its PDF, and the events behind each line."""

from __future__ import annotations

import json
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel

from remote_claude.billing.api.invoice_models import InvoiceContents, InvoiceExport, InvoiceLine
from remote_claude.billing.domain.account import Invoiced
from remote_claude.billing.exports import Exports, Link
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.usage import UsageView
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import MAX_POSITION, Freshness
from remote_claude.edge.models import binary, problems
from remote_claude.eventsourcing.postgres.tables import query_for
from remote_claude.runtime.service import Runtime


class InvoiceSummary(BaseModel):
    """`total` is in the currency's smallest unit. `state`: `open`, `paid`, `past_due`, `corrected`."""

    id: str
    number: str
    period: str
    currency: str
    total: int
    state: str
    issued_at: str
    due_at: str
    paid_at: str | None
    json_sha256: str
    pdf_sha256: str

    @classmethod
    def of(cls, known: Invoiced) -> InvoiceSummary:
        """An invoice as the log has it."""
        issued = known.issued
        return cls(
            id=issued.invoice,
            number=issued.number,
            period=issued.period,
            currency=issued.currency,
            total=issued.total,
            state=known.state,
            issued_at=issued.issued_at,
            due_at=issued.due_at,
            paid_at=known.paid.paid_at if known.paid is not None else None,
            json_sha256=issued.json_sha256,
            pdf_sha256=issued.pdf_sha256,
        )


class InvoiceList(BaseModel):
    """In the order in which they were issued."""

    invoices: list[InvoiceSummary]


class InvoiceAnswer(InvoiceSummary):
    """`document` is the invoice itself: its canonical JSON has the hash `json_sha256`."""

    document: InvoiceContents


class Explanation(BaseModel):
    """What a line is derived from. `events` in log order; `next` is the position to go on after, null at the end.

    `chain` has the links of these events in the log's hash chain, as far as they are archived.
    """

    invoice: str
    number: str
    closed_at: int
    line: InvoiceLine
    events: list[bills.Evidence]
    chain: list[Link]
    next: int | None


def add_routes(
    api: APIRouter, runtime: Runtime, fresh: Freshness, invoices: Invoices, exports: Exports
) -> None:
    """The routes under `/v1/invoices`."""
    reads: dict[str, Any] = {"dependencies": [Depends(fresh)], "responses": problems(401, 403, 404, 503)}

    @api.get("/invoices", operation_id="list_invoices", **reads)
    async def list_invoices(principal: Caller) -> InvoiceList:
        """The invoices of the organisation."""
        account = await invoices.account(principal.org)
        return InvoiceList(invoices=[InvoiceSummary.of(known) for known in account.invoices.values()])

    async def contents(org: str, known: Invoiced) -> InvoiceContents:
        found: InvoiceContents = json.loads(await invoices.stored(org, known.issued.json_sha256))
        return found

    @api.get("/invoices/{invoice}", operation_id="get_invoice", **reads)
    async def get_invoice(invoice: str, principal: Caller) -> InvoiceAnswer:
        """An invoice, by its id or its number."""
        known = await invoices.invoice(principal.org, invoice)
        summary = InvoiceSummary.of(known)
        return InvoiceAnswer(**dict(summary), document=await contents(principal.org, known))

    @api.get(
        "/invoices/{invoice}/pdf", operation_id="get_invoice_pdf", dependencies=[Depends(fresh)],
        response_class=Response,
        responses={200: binary("application/pdf"), **problems(401, 403, 404, 503)},
    )  # fmt: skip
    async def get_invoice_pdf(invoice: str, principal: Caller) -> Response:
        """The PDF of an invoice."""
        known = await invoices.invoice(principal.org, invoice)
        data = await invoices.stored(principal.org, known.issued.pdf_sha256)
        name = f'inline; filename="{known.issued.number}.pdf"'
        return Response(data, media_type="application/pdf", headers={"Content-Disposition": name})

    @api.get("/invoices/{invoice}/lines/{line}", operation_id="explain_invoice_line", **reads)
    async def explain_invoice_line(
        invoice: str,
        line: int,
        principal: Caller,
        after: Annotated[int, Query(ge=0, le=MAX_POSITION, description="Events after this position")] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> Explanation:
        """What a line of an invoice is derived from: its prices, quantities, and the events with their positions."""
        known = await invoices.invoice(principal.org, invoice)
        document = await contents(principal.org, known)
        found = invoices.line(known, document, line)
        events: list[bills.Evidence] = []
        if found.get("meter") and found["kind"] == "usage":
            async with query_for(runtime.pool, UsageView, principal.org) as connection:
                events = await bills.evidence(
                    connection, principal.org, period=known.issued.period, meter=found["meter"],
                    after=after, limit=limit + 1, until=1,
                )  # fmt: skip
        following = events[limit - 1].position if len(events) > limit else None
        return Explanation(
            invoice=known.issued.invoice, number=known.issued.number, closed_at=known.issued.closed_at,
            line=found, events=events[:limit], next=following,
            chain=await exports.links(e.position for e in events[:limit]),
        )  # fmt: skip

    @api.get("/invoices/{invoice}/export", operation_id="export_invoice", **reads)
    async def export_invoice(invoice: str, principal: Caller) -> InvoiceExport:
        """An invoice with its prices and events, signed: `rclaude billing verify` checks it without us."""
        return cast("InvoiceExport", await exports.export(principal.org, invoice))
