"""Tickets: who may open one, what goes into one, how a mail becomes an answer."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from given import Decider
from remote_claude.contracts import Sealed
from remote_claude.contracts.billing import SupportTier
from remote_claude.contracts.users import TicketAnswered, TicketClosed, TicketOpened
from remote_claude.runtime.ids import new_id
from remote_claude.users.domain.tickets import (
    MAX_MESSAGES,
    AnswerTicket,
    CloseTicket,
    NoSupport,
    OpenTicket,
    TicketClosedAlready,
    TicketFull,
    TicketNotFound,
    decide,
    fold,
)
from remote_claude.users.mail_answers import read_answer
from remote_claude.users.ticket_mails import REPLY_ABOVE

TICKETS = Decider(fold, decide)
ORG, TICKET, ADA = "org_1", "ticket_1", "user_1"
TEXT = Sealed(key=ORG, box="text")
OPENED = TicketOpened(org=ORG, ticket=TICKET, by=ADA, title=TEXT, text=TEXT, support="email")
CLOSED = TicketClosed(org=ORG, ticket=TICKET, by=ADA)


def open_with(support: SupportTier) -> OpenTicket:
    return OpenTicket(org=ORG, ticket=TICKET, by=ADA, title=TEXT, text=TEXT, support=support)


def answer(message: str = "message_1", by: str | None = None) -> AnswerTicket:
    return AnswerTicket(org=ORG, ticket=TICKET, by=by, message=message, text=TEXT)


def answered(message: str = "message_1", by: str | None = None) -> TicketAnswered:
    return TicketAnswered(org=ORG, ticket=TICKET, by=by, message=message, text=TEXT)


def test_a_plan_without_support_has_no_tickets_and_one_with_it_has() -> None:
    TICKETS.given().when(open_with("community")).then_refused(NoSupport)
    TICKETS.given().when(open_with("email")).then(OPENED)
    TICKETS.given(OPENED).when(open_with("email")).then()


def test_a_message_is_recorded_once_and_only_in_a_ticket_that_is_open() -> None:
    TICKETS.given(OPENED).when(answer()).then(answered())
    TICKETS.given(OPENED, answered()).when(answer()).then()
    TICKETS.given().when(answer()).then_refused(TicketNotFound)
    TICKETS.given(OPENED, CLOSED).when(answer()).then_refused(TicketClosedAlready)
    TICKETS.given(OPENED, answered(), CLOSED).when(answer()).then()
    full = [answered(f"message_{n}") for n in range(MAX_MESSAGES)]
    TICKETS.given(OPENED, *full).when(answer("message_x")).then_refused(TicketFull)


def test_a_ticket_is_closed_once() -> None:
    close = CloseTicket(org=ORG, ticket=TICKET, by=ADA)
    TICKETS.given(OPENED).when(close).then(CLOSED)
    TICKETS.given(OPENED, CLOSED).when(close).then()
    TICKETS.given().when(close).then_refused(TicketNotFound)


def test_a_ticket_waits_until_the_operators_message_is_the_last() -> None:
    assert not fold([OPENED]).answered
    assert fold([OPENED, answered()]).answered
    assert not fold([OPENED, answered(), answered("message_2", by=ADA)]).answered


def mail(subject: str, text: str, sender: str = "Ada <Ada@Example.com>") -> bytes:
    made = EmailMessage()
    made["From"], made["Subject"], made["Message-ID"] = sender, subject, "<1@example.com>"
    made.set_content(text)
    return bytes(made)


@pytest.mark.parametrize("quoted", [f"> {REPLY_ABOVE}", REPLY_ABOVE, "On Monday, the operator wrote:\n> x"])
def test_a_mail_is_an_answer_without_what_it_quotes(quoted: str) -> None:
    ticket = new_id("ticket")
    found = read_answer(mail(f"Re: [{ticket}] It fails", f"It works now.\nThanks\n\n{quoted}\n\nold text"))
    assert found is not None
    assert (found.ticket, found.sender, found.text) == (ticket, "ada@example.com", "It works now.\nThanks")
    again = read_answer(mail(f"Re: [{ticket}] It fails", "It works now."))
    assert again is not None
    assert again.message == found.message


def test_a_mail_without_a_ticket_or_a_text_is_no_answer() -> None:
    assert read_answer(mail("Hello", "text")) is None
    assert read_answer(mail("[ticket_x] Hello", "text")) is None
    assert read_answer(mail(f"[{new_id('ticket')}] Hello", f"\n{REPLY_ABOVE}\nold")) is None
