"""Tickets: requests for support, over HTTP."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Sequence
from enum import Enum
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BaseModel, StringConstraints
from pydantic_core import PydanticCustomError

from remote_claude.access.permissions import ADMINS
from remote_claude.access.plans import Plans
from remote_claude.access.principal import Principal
from remote_claude.contracts.billing import SupportTier
from remote_claude.contracts.contexts import ticket_message_context, ticket_title_context
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import Freshness
from remote_claude.edge.models import problems
from remote_claude.edge.paging import Limit
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import Name, OrgChanged, RequestBody
from remote_claude.users.api.support import Support
from remote_claude.users.domain.tickets import (
    AnswerTicket,
    CloseTicket,
    NoSupport,
    OpenTicket,
    TicketNotFound,
)
from remote_claude.users.handlers import TicketHandlers
from remote_claude.users.projections import tickets as view
from remote_claude.users.projections.tickets import MessageRow, TicketRow, TicketsView

TAGS: list[str | Enum] = ["support"]
MAX_BUNDLE_BYTES = 512 * 1024


def _base64(text: str) -> str:
    try:
        b64decode(text, validate=True)
    except NotBase64:
        raise PydanticCustomError("base64", "this is no base64") from None
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
Bundle = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_BUNDLE_BYTES * 4 // 3), AfterValidator(_base64)
]


class NewTicket(RequestBody):
    """`bundle` is a file of diagnostics in base64, as `rclaude support bundle` writes it."""

    title: Name
    text: Text
    task: Annotated[str, StringConstraints(max_length=64, pattern="^[0-9A-Za-z_]+$")] | None = None
    bundle: Bundle | None = None


class NewMessage(RequestBody):
    text: Text


class TicketAnswer(BaseModel):
    """`answered`: the last message is the operator's. `title` is null once the organisation is erased."""

    id: str
    title: str | None
    support: SupportTier
    opened_by: str
    opened_at: str
    closed_at: str | None
    answered: bool
    task: str | None
    bundle: str | None


class TicketMessageAnswer(BaseModel):
    """`by` is null for the operator."""

    id: str
    by: str | None
    at: str
    text: str | None


class TicketList(BaseModel):
    tickets: list[TicketAnswer]
    as_of: int


class WholeTicket(TicketAnswer):
    messages: list[TicketMessageAnswer]
    as_of: int


async def shown(support: Support, row: TicketRow) -> TicketAnswer:
    """A ticket as it is answered."""
    return TicketAnswer(
        id=row.id,
        title=await support.open(row.title, ticket_title_context(row.id)),
        support=row.support,
        opened_by=row.opened_by,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        answered=row.answered,
        task=row.task,
        bundle=row.bundle,
    )


async def shown_messages(
    support: Support, ticket: str, rows: Sequence[MessageRow]
) -> list[TicketMessageAnswer]:
    """The messages of a ticket as they are answered."""
    return [
        TicketMessageAnswer(
            id=row.id,
            by=row.by,
            at=row.at,
            text=await support.open(row.text, ticket_message_context(ticket, row.id)),
        )
        for row in rows
    ]


def add_routes(api: APIRouter, runtime: Runtime, handlers: TicketHandlers, support: Support) -> None:
    """The routes below `/v1/org/tickets`. Owners and admins see every ticket, others their own."""
    fresh = Freshness(runtime.tail, lambda: runtime.projectors[TicketsView.name])
    plans = Plans(runtime.log, runtime.clock)

    async def require_own(principal: Principal, ticket: str) -> None:
        """Raises `TicketNotFound` for one that the caller may not see."""
        opened = await handlers.opened(principal.org, ticket)
        if opened is None or not (principal.role in ADMINS or opened.by == principal.user):
            raise TicketNotFound(ticket)

    @api.post(
        "/v1/org/tickets", tags=TAGS, status_code=HTTPStatus.CREATED, responses=problems(403, 404, 422, 503)
    )
    async def open_ticket(principal: Caller, body: NewTicket) -> OrgChanged:
        """Ask the operator for support. The plan says whether there are tickets, and which are answered first."""
        allowed = await plans.of(principal.org)
        tier = allowed.support if allowed is not None else "community"
        if tier == "community":
            raise NoSupport
        ticket, key = runtime.new_id("ticket"), await runtime.keyring.get(principal.org)
        bundle = await runtime.objects.put(principal.org, b64decode(body.bundle)) if body.bundle else None
        position = await handlers.handle(
            OpenTicket(
                org=principal.org,
                ticket=ticket,
                by=principal.user,
                title=key.seal(body.title, ticket_title_context(ticket)),
                text=key.seal(body.text, ticket_message_context(ticket, ticket)),
                support=tier,
                task=body.task,
                bundle=bundle,
            )
        )
        return OrgChanged(id=ticket, position=position)

    @api.get(
        "/v1/org/tickets", tags=TAGS, dependencies=[Depends(fresh)], responses=problems(403, 404, 422, 503)
    )
    async def list_tickets(principal: Caller, limit: Limit = 50) -> TicketList:
        """The tickets of the organisation, the latest first; of a member, their own."""
        by = None if principal.role in ADMINS else principal.user
        rows = await view.tickets(runtime.pool, principal.org, by=by, limit=limit)
        return TicketList(tickets=[await shown(support, row) for row in rows], as_of=fresh.as_of)

    @api.get(
        "/v1/org/tickets/{ticket}",
        tags=TAGS,
        dependencies=[Depends(fresh)],
        responses=problems(403, 404, 422, 503),
    )
    async def get_ticket(principal: Caller, ticket: str) -> WholeTicket:
        """A ticket with its messages, in their order."""
        found = await view.ticket(runtime.pool, principal.org, ticket)
        if found is None or not (principal.role in ADMINS or found[0].opened_by == principal.user):
            raise TicketNotFound(ticket)
        messages = await shown_messages(support, ticket, found[1])
        whole = await shown(support, found[0])
        return WholeTicket(**whole.model_dump(), messages=messages, as_of=fresh.as_of)

    @api.post(
        "/v1/org/tickets/{ticket}/messages",
        tags=TAGS,
        status_code=HTTPStatus.CREATED,
        responses=problems(403, 404, 409, 422, 503),
    )
    async def answer_ticket(principal: Caller, ticket: str, body: NewMessage) -> OrgChanged:
        """Add a message to a ticket that is open."""
        await require_own(principal, ticket)
        message, key = runtime.new_id("message"), await runtime.keyring.get(principal.org)
        text = key.seal(body.text, ticket_message_context(ticket, message))
        position = await handlers.handle(
            AnswerTicket(org=principal.org, ticket=ticket, by=principal.user, message=message, text=text)
        )
        return OrgChanged(id=message, position=position)

    @api.post("/v1/org/tickets/{ticket}/close", tags=TAGS, responses=problems(403, 404, 503))
    async def close_ticket(principal: Caller, ticket: str) -> OrgChanged:
        """Close a ticket: it takes no more messages."""
        await require_own(principal, ticket)
        command = CloseTicket(org=principal.org, ticket=ticket, by=principal.user)
        return OrgChanged(id=ticket, position=await handlers.handle(command))
