"""A ticket: a request for support, the messages in it, and its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from remote_claude.contracts import Sealed
from remote_claude.contracts.billing import SupportTier
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import (
    TicketAnswered,
    TicketClosed,
    TicketMailFailed,
    TicketMailSent,
    TicketOpened,
)

MAX_MESSAGES = 200

TicketChange = TicketOpened | TicketAnswered | TicketClosed
Event = TicketChange | TicketMailSent | TicketMailFailed


class NoSupport(Refusal):
    code = "support_not_in_plan"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "The plan of this organisation has no tickets. `rclaude doctor` checks this machine, and the guides and the "
            "discussions of the project answer most questions. `rclaude billing plans` shows plans with support."
        )


class TicketNotFound(Refusal):
    code = "support_ticket_not_found"
    status = 404

    def __init__(self, ticket: str) -> None:
        super().__init__(
            f"There is no ticket {ticket[:64]!r}. `rclaude support list` shows those that there are."
        )


class TicketClosedAlready(Refusal):
    code = "support_ticket_closed"
    status = 409

    def __init__(self, ticket: str) -> None:
        super().__init__(f"The ticket {ticket} is closed. Open another one, and name this one in it.")


class TicketFull(Refusal):
    code = "support_ticket_full"
    status = 409

    def __init__(self, ticket: str) -> None:
        super().__init__(f"The ticket {ticket} has {MAX_MESSAGES} messages. Close it and open another one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTicket:
    """`support` is the tier of the organisation's plan."""

    org: str
    ticket: str
    by: str
    title: Sealed
    text: Sealed
    support: SupportTier
    task: str | None = None
    bundle: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTicket:
    """`by` is None for the operator."""

    org: str
    ticket: str
    by: str | None
    message: str
    text: Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseTicket:
    org: str
    ticket: str
    by: str | None


Command = OpenTicket | AnswerTicket | CloseTicket


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket with its messages. `opened` is None while there is no such ticket."""

    opened: TicketOpened | None = None
    answers: tuple[TicketAnswered, ...] = ()
    closed: bool = False

    @property
    def answered(self) -> bool:
        """Whether the last message is the operator's."""
        return bool(self.answers) and self.answers[-1].by is None


initial_state = Ticket()


def decide(command: Command, state: Ticket) -> list[TicketChange]:
    """What is recorded. Raises `NoSupport`, `TicketNotFound`, `TicketClosedAlready`, `TicketFull`."""
    match command:
        case OpenTicket() as c:
            if c.support == "community":
                raise NoSupport
            if state.opened is not None:
                return []
            return [
                TicketOpened(
                    org=c.org,
                    ticket=c.ticket,
                    by=c.by,
                    title=c.title,
                    text=c.text,
                    support=c.support,
                    task=c.task,
                    bundle=c.bundle,
                )
            ]
        case AnswerTicket() as c:
            if state.opened is None:
                raise TicketNotFound(c.ticket)
            if any(c.message == answer.message for answer in state.answers):
                return []
            if state.closed:
                raise TicketClosedAlready(c.ticket)
            if len(state.answers) >= MAX_MESSAGES:
                raise TicketFull(c.ticket)
            return [TicketAnswered(org=c.org, ticket=c.ticket, by=c.by, message=c.message, text=c.text)]
        case CloseTicket() as c:
            if state.opened is None:
                raise TicketNotFound(c.ticket)
            return [] if state.closed else [TicketClosed(org=c.org, ticket=c.ticket, by=c.by)]
        case _:
            assert_never(command)


def evolve(state: Ticket, event: Event) -> Ticket:
    """The state after an event."""
    match event:
        case TicketOpened():
            return replace(state, opened=event)
        case TicketAnswered():
            return replace(state, answers=(*state.answers, event))
        case TicketClosed():
            return replace(state, closed=True)
        case TicketMailSent() | TicketMailFailed():
            return state
        case _:
            assert_never(event)


def fold(events: Sequence[Event]) -> Ticket:
    """The state after these events."""
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state
