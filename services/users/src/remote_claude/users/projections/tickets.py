"""The view `users_tickets`: tickets, their messages, and the mails that are to be sent. Texts stay sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from psycopg import AsyncConnection
from psycopg.sql import SQL
from sqlalchemy import BigInteger, Index, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts import Sealed
from remote_claude.contracts.users import (
    TicketAnswered,
    TicketClosed,
    TicketMailFailed,
    TicketMailSent,
    TicketOpened,
)
from remote_claude.eventsourcing import stream_id
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.outbox_table import EffectChanges, OutboxRow, effect
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import TableRow, load, reading, upsert
from remote_claude.eventsourcing.views import View

TO_OPERATOR, TO_CUSTOMER = "operator", "customer"


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class Ticket(Tables, table=True):
    __tablename__ = "ticket"
    __table_args__ = (Index("ticket_by_org", "org", "position"),)
    id: str = Field(primary_key=True)
    org: str
    position: int = Field(sa_type=BigInteger)
    opened_by: str
    title_key: str
    title_box: str
    support: str
    task: str | None
    bundle: str | None
    opened_at: str
    closed_at: str | None
    answered: bool


class Message(Tables, table=True):
    __tablename__ = "message"
    __table_args__ = (Index("message_by_ticket", "ticket", "position"),)
    id: str = Field(primary_key=True)
    org: str
    ticket: str
    position: int = Field(sa_type=BigInteger)
    person: str | None
    text_key: str
    text_box: str
    at: str


class TicketMailRow(OutboxRow, Tables, table=True):
    """A message to mail. Its lane is the organisation."""

    __tablename__ = "mail"
    __table_args__ = (Index("mail_by_lane", "lane", "position"),)


class TicketsView(View):
    """Folds the tickets of organisations."""

    name: ClassVar[str] = "users_tickets"
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        e.type for e in (TicketOpened, TicketAnswered, TicketClosed, TicketMailSent, TicketMailFailed)
    )
    pace: ClassVar[float] = 0.1  # as often as the outbox looks

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        tickets = await load(connection, Ticket, {r.event.ticket for r in events})
        messages: list[dict[str, Any]] = []
        mails = EffectChanges(TicketMailRow)
        for recorded in events:
            match recorded.event:
                case TicketOpened() as e:
                    tickets[e.ticket] = {
                        "id": e.ticket,
                        "org": e.org,
                        "position": recorded.position,
                        "opened_by": e.by,
                        "title_key": e.title.key,
                        "title_box": e.title.box,
                        "support": e.support,
                        "task": e.task,
                        "bundle": e.bundle,
                        "opened_at": recorded.occurred_at,
                        "closed_at": None,
                        "answered": False,
                    }
                    messages.append(_message(recorded, e, e.ticket))
                    mails.add(_mail(recorded, e, e.ticket, TO_OPERATOR))
                case TicketAnswered() as e:
                    tickets[e.ticket]["answered"] = e.by is None
                    messages.append(_message(recorded, e, e.message))
                    mails.add(_mail(recorded, e, e.message, TO_CUSTOMER if e.by is None else TO_OPERATOR))
                case TicketClosed() as e:
                    tickets[e.ticket]["closed_at"] = recorded.occurred_at
                case _:
                    mails.settle(recorded)
        await upsert(connection, Ticket, tickets.values())
        await upsert(connection, Message, messages)
        await mails.write(connection)


def _message(recorded: RecordedEvent, e: TicketOpened | TicketAnswered, message: str) -> dict[str, Any]:
    return {
        "id": message,
        "org": e.org,
        "ticket": e.ticket,
        "position": recorded.position,
        "person": e.by,
        "text_key": e.text.key,
        "text_box": e.text.box,
        "at": recorded.occurred_at,
    }


def _mail(recorded: RecordedEvent, e: TicketOpened | TicketAnswered, message: str, to: str) -> dict[str, Any]:
    payload = {"org": e.org, "ticket": e.ticket, "message": message, "to": to}
    stream = stream_id("users", e.org, "ticket", e.ticket)
    return effect(recorded, "mail", lane=e.org, stream=stream, payload=payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketRow:
    """A ticket. `answered`: the last message is the operator's."""

    id: str
    org: str
    opened_by: str
    title: Sealed
    support: str
    task: str | None
    bundle: str | None
    opened_at: str
    closed_at: str | None
    answered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message of a ticket; `by` is None for the operator."""

    id: str
    by: str | None
    text: Sealed
    at: str


async def tickets(pool: Pool, org: str, *, by: str | None, limit: int) -> list[TicketRow]:
    """The tickets of an organisation, or of the person `by` in it; the latest first."""
    async with reading(pool, TicketsView, org=org) as connection:
        found = await connection.execute(
            "SELECT * FROM ticket WHERE org = %s AND (%s::text IS NULL OR opened_by = %s) ORDER BY position DESC LIMIT %s",
            [org, by, by, limit],
        )
        return [_ticket(row) for row in await found.fetchall()]


async def every_ticket(pool: Pool, *, closed: bool, limit: int) -> list[TicketRow]:
    """The tickets of all organisations that are open, or closed.

    Open ones come in the order in which to answer them: those that wait, `priority` before `email`, then by age. Closed
    ones come latest first.
    """
    order = "position DESC" if closed else "answered, support <> 'priority', position"
    async with reading(pool, TicketsView, org=None) as connection:
        found = await connection.execute(
            SQL("SELECT * FROM ticket WHERE (closed_at IS NOT NULL) = %s ORDER BY {} LIMIT %s").format(
                SQL(order)
            ),
            [closed, limit],
        )
        return [_ticket(row) for row in await found.fetchall()]


async def ticket(pool: Pool, org: str | None, id: str) -> tuple[TicketRow, list[MessageRow]] | None:
    """A ticket of an organisation, or of any with `org=None`, and its messages in their order; None for no such ticket."""
    async with reading(pool, TicketsView, org=org) as connection:
        query = "SELECT * FROM ticket WHERE id = %s AND (%s::text IS NULL OR org = %s)"
        found = await connection.execute(query, [id, org, org])
        row = await found.fetchone()
        if row is None:
            return None
        said = await connection.execute("SELECT * FROM message WHERE ticket = %s ORDER BY position", [id])
        return _ticket(row), [
            MessageRow(
                id=m["id"], by=m["person"], text=Sealed(key=m["text_key"], box=m["text_box"]), at=m["at"]
            )
            for m in await said.fetchall()
        ]


def _ticket(row: dict[str, Any]) -> TicketRow:
    names = ("id", "org", "opened_by", "support", "task", "bundle", "opened_at", "closed_at", "answered")
    return TicketRow(
        **{name: row[name] for name in names}, title=Sealed(key=row["title_key"], box=row["title_box"])
    )
