"""Makes an invoice again: the log is folded into an empty database, and the documents are made from that."""

from __future__ import annotations

import secrets
from typing import Any, cast

from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege
from psycopg_pool import AsyncConnectionPool

from remote_claude.billing.domain.invoicing import BillingRefusal
from remote_claude.billing.invoices import Derived, Invoices
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.billing import InvoiceIssued
from remote_claude.eventsourcing.postgres.schemas import borrow, create_schema
from remote_claude.runtime.service import Runtime


class NoDatabase(BillingRefusal):
    """An empty database is needed, and may not be made."""

    code = "no_database"


async def rederive(runtime: Runtime, org: str, issued: InvoiceIssued) -> tuple[Derived, int]:
    """The invoice as the log gives it, and how many events were read. The database is dropped again."""
    conninfo = cast(str, runtime.pool.conninfo)
    name = f"rclaude_rederive_{secrets.token_hex(6)}"
    async with await AsyncConnection.connect(conninfo, autocommit=True) as server:
        try:
            await server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except InsufficientPrivilege as error:
            raise NoDatabase("The PostgreSQL role may not create a database: grant it CREATEDB.") from error
        try:
            return await _derived(runtime, make_conninfo(conninfo, dbname=name), org, issued)
        finally:
            await server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def _derived(runtime: Runtime, conninfo: str, org: str, issued: InvoiceIssued) -> tuple[Derived, int]:
    view, read = UsageView(), 0
    async with AsyncConnectionPool[AsyncConnection[Any]](conninfo, min_size=1, max_size=2) as pool:
        async with borrow(pool) as connection:
            await create_schema(connection, view.name, view)
        async with borrow(pool) as connection:
            await connection.execute(f"SET search_path = {view.name}")
            async for batch in runtime.log.read(until=issued.closed_at):
                mine = [r for r in batch if r.type in view.handles and r.organisation == org]
                read += len(batch)
                if mine:
                    await view.apply(connection, mine)
            await connection.commit()
            invoices = Invoices(runtime.log, pool, runtime.objects, runtime.clock)
            return await invoices.derive(connection, org, issued), read
