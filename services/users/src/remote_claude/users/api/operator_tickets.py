"""Tickets of every organisation, for the operator of the installation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel

from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.contexts import ticket_message_context
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import Freshness
from remote_claude.edge.models import problems
from remote_claude.edge.paging import Limit
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import OrgChanged
from remote_claude.users.api.support import Support
from remote_claude.users.api.tickets import (
    TAGS,
    NewMessage,
    TicketAnswer,
    TicketMessageAnswer,
    shown,
    shown_messages,
)
from remote_claude.users.domain.tickets import AnswerTicket, CloseTicket, TicketNotFound
from remote_claude.users.handlers import TicketHandlers
from remote_claude.users.projections import tickets as view
from remote_claude.users.projections.tickets import MessageRow, TicketRow, TicketsView

BUNDLE_TYPE = "application/gzip"


class AnyTicket(TicketAnswer):
    """A ticket and its organisation."""

    org: str


class AnyTicketList(BaseModel):
    """Open ones in the order in which to answer them; closed ones, the latest first."""

    tickets: list[AnyTicket]
    as_of: int


class WholeAnyTicket(AnyTicket):
    messages: list[TicketMessageAnswer]
    as_of: int


def add_routes(api: APIRouter, runtime: Runtime, handlers: TicketHandlers, support: Support) -> None:
    """The routes below `/v1/support/tickets`."""
    fresh = Freshness(runtime.tail, lambda: runtime.projectors[TicketsView.name])

    async def any_ticket(row: TicketRow) -> AnyTicket:
        return AnyTicket(org=row.org, **(await shown(support, row)).model_dump())

    async def find(ticket: str) -> tuple[TicketRow, list[MessageRow]]:
        found = await view.ticket(runtime.pool, None, ticket)
        if found is None:
            raise TicketNotFound(ticket)
        return found

    @api.get(
        "/v1/support/tickets", tags=TAGS, dependencies=[Depends(fresh)], responses=problems(403, 422, 503)
    )
    async def list_all_tickets(
        _: Caller,
        closed: Annotated[
            bool, Query(description="Those that are closed, in place of the open ones")
        ] = False,
        limit: Limit = 50,
    ) -> AnyTicketList:
        """Tickets of every organisation: open ones in the order in which to answer them."""
        rows = await view.every_ticket(runtime.pool, closed=closed, limit=limit)
        return AnyTicketList(tickets=[await any_ticket(row) for row in rows], as_of=fresh.as_of)

    @api.get(
        "/v1/support/tickets/{ticket}",
        tags=TAGS,
        dependencies=[Depends(fresh)],
        responses=problems(403, 404, 422, 503),
    )
    async def get_any_ticket(_: Caller, ticket: str) -> WholeAnyTicket:
        """A ticket of any organisation with its messages, in their order."""
        row, messages = await find(ticket)
        return WholeAnyTicket(
            **(await any_ticket(row)).model_dump(),
            messages=await shown_messages(support, ticket, messages),
            as_of=fresh.as_of,
        )

    @api.get(
        "/v1/support/tickets/{ticket}/bundle",
        tags=TAGS,
        dependencies=[Depends(fresh)],
        response_class=Response,
        responses=problems(403, 404, 422, 503) | {200: {"content": {BUNDLE_TYPE: {}}}},
    )
    async def get_ticket_bundle(_: Caller, ticket: str) -> Response:
        """The diagnostics that came with a ticket."""
        row, _messages = await find(ticket)
        if row.bundle is None:
            raise TicketNotFound(ticket)
        try:
            content = await runtime.objects.get(row.org, row.bundle)
        except KeyErased:
            raise TicketNotFound(ticket) from None
        return Response(content, media_type=BUNDLE_TYPE)

    @api.post(
        "/v1/support/tickets/{ticket}/messages",
        tags=TAGS,
        status_code=201,
        responses=problems(403, 404, 409, 422, 503),
    )
    async def answer_any_ticket(_: Caller, ticket: str, body: NewMessage) -> OrgChanged:
        """Answer a ticket as the operator; who opened it gets the answer by mail too."""
        row, _messages = await find(ticket)
        message = runtime.new_id("message")
        text = (await runtime.keyring.get(row.org)).seal(body.text, ticket_message_context(ticket, message))
        command = AnswerTicket(org=row.org, ticket=ticket, by=None, message=message, text=text)
        return OrgChanged(id=message, position=await handlers.handle(command))

    @api.post("/v1/support/tickets/{ticket}/close", tags=TAGS, responses=problems(403, 404, 503))
    async def close_any_ticket(_: Caller, ticket: str) -> OrgChanged:
        """Close a ticket as the operator: it takes no more messages."""
        row, _messages = await find(ticket)
        command = CloseTicket(org=row.org, ticket=ticket, by=None)
        return OrgChanged(id=ticket, position=await handlers.handle(command))
