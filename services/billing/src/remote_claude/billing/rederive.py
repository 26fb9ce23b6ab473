"""Derives invoices again: the log is folded into an empty database, and the documents are made from that."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege
from psycopg_pool import AsyncConnectionPool

from remote_claude.billing import documents
from remote_claude.billing.domain.invoice import as_bytes, credit_note
from remote_claude.billing.domain.invoicing import BillingRefusal
from remote_claude.billing.invoice_issuing import Derived, InvoiceIssuer
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.billing import CreditNoteIssued, InvoiceIssued
from remote_claude.eventsourcing import EventLog
from remote_claude.eventsourcing.postgres.schemas import Pool, borrow, create_schema


class NoDatabase(BillingRefusal):
    """An empty database is needed, and may not be made."""

    code = "no_database"


async def rederive(
    log: EventLog, pool: Pool, issuer: InvoiceIssuer, wanted: Sequence[InvoiceIssued]
) -> AsyncIterator[tuple[InvoiceIssued | CreditNoteIssued, Derived, int]]:
    """Each invoice as the log gives it, followed by its credit notes, and how many events were read until then.

    The database is dropped afterwards.

    The log is read once, however many invoices there are. Raises `NoDatabase`.
    """
    waiting = sorted(wanted, key=lambda issued: issued.closed_at)
    orgs = {issued.org for issued in waiting}
    view, read, batch = UsageView(), 0, list[Any]()
    async with _empty_database(cast(str, pool.conninfo)) as empty, borrow(empty) as connection:
        await create_schema(connection, view.name, view)
        await connection.execute(f"SET search_path = {view.name}")
        async for found in log.read(until=waiting[-1].closed_at if waiting else 0):
            for recorded in found:
                read += 1
                if recorded.type in view.handles and recorded.organisation in orgs:
                    batch.append(recorded)
                while waiting and recorded.position >= waiting[0].closed_at:
                    await view.apply(connection, batch)
                    batch.clear()
                    issued = waiting.pop(0)
                    derived = await issuer.derive(connection, issued.org, issued)
                    yield issued, derived, read
                    for note in (await issuer.invoices.account(issued.org)).credit_notes.values():
                        if note.corrects == issued.invoice:
                            yield note, await derive_credit_note(note, derived), read
            if batch:
                await view.apply(connection, batch)
                batch.clear()


async def derive_credit_note(note: CreditNoteIssued, invoice: Derived) -> Derived:
    """A credit note, made again from its event and the document that it corrects."""
    document = credit_note(
        json.loads(invoice.json), id=note.invoice, number=note.number, amount=note.total, reason=note.reason,
        issued_at=note.issued_at,
    )  # fmt: skip
    contents = as_bytes(document)
    return Derived(json=contents, pdf=await asyncio.to_thread(documents.pdf, contents))


async def differences(
    invoices: Invoices, issued: InvoiceIssued | CreditNoteIssued, derived: Derived
) -> list[str]:
    """Which documents of an invoice or a credit note are not the same, byte for byte, as issued, as stored and as derived."""
    wrong = []
    for name, made, recorded in (
        ("JSON", derived.json, issued.json_sha256),
        ("PDF", derived.pdf, issued.pdf_sha256),
    ):
        if (
            hashlib.sha256(made).hexdigest() != recorded
            or await invoices.stored(issued.org, recorded) != made
        ):
            wrong.append(name)
    return wrong


@asynccontextmanager
async def _empty_database(conninfo: str) -> AsyncIterator[Pool]:
    name = f"rclaude_rederive_{secrets.token_hex(6)}"
    async with await AsyncConnection.connect(conninfo, autocommit=True) as server:
        try:
            await server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except InsufficientPrivilege as error:
            raise NoDatabase("The PostgreSQL role may not create a database: grant it CREATEDB.") from error
        try:
            empty = make_conninfo(conninfo, dbname=name)
            async with AsyncConnectionPool[AsyncConnection[Any]](empty, min_size=1, max_size=1) as pool:
                yield pool
        finally:
            await server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
