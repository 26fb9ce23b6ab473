"""`rclaude-admin support`: tickets of every organisation, and the operator's answers."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer

if TYPE_CHECKING:
    from remote_claude.contracts import Sealed
    from remote_claude.contracts.users import TicketOpened
    from remote_claude.runtime.service import Runtime
    from remote_claude.users.domain.tickets import Ticket

MAX_TEXT = 20_000
app = typer.Typer(no_args_is_help=True, help="Tickets of every organisation, and answers to them.")

TicketId = Annotated[str, typer.Argument(help="The ticket, ticket_....")]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Show open tickets: those that wait for an answer first, `priority` before `email`, then by age."""

    async def work(runtime: Runtime) -> None:
        found = [t for t in (await _tickets(runtime, "*")).values() if not t.closed]
        found.sort(key=lambda t: (t.answered, t.event.support != "priority", t.opened_at))
        shown = [await _shown(runtime, one) for one in found]
        if as_json:
            typer.echo(json.dumps(shown))
            return
        for one in shown:
            waits = "answered" if one["answered"] else "waits"
            typer.echo(
                f"{one['id']}  {one['support']}  {waits}  {one['org']}  {one['opened_at']}  {one['title']}"
            )

    administer(work, user="users")


@app.command()
def show(ticket: TicketId, as_json: Json = False) -> None:
    """Show a ticket with its messages."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.contracts.contexts import ticket_message_context

        found = await _find(runtime, ticket)
        shown = await _shown(runtime, found)
        first = found.event
        sealed = [
            (first.by, ticket, first.text),
            *((answer.by, answer.message, answer.text) for answer in found.state.answers),
        ]
        shown["messages"] = [
            {"by": by, "text": await _open(runtime, text, ticket_message_context(ticket, message))}
            for by, message, text in sealed
        ]
        if as_json:
            typer.echo(json.dumps(shown))
            return
        typer.echo(f"{ticket}  {shown['support']}  {shown['org']}  {shown['title']}")
        for one in shown["messages"]:
            typer.echo(f"\n{one['by'] or 'operator'}\n{one['text']}")

    administer(work, user="users")


@app.command()
def answer(
    ticket: TicketId, text: Annotated[str, typer.Argument(help="The answer; - reads standard input.")]
) -> None:
    """Answer a ticket; who opened it gets the answer by mail too."""
    written = sys.stdin.read() if text == "-" else text

    async def work(runtime: Runtime) -> None:
        await _record(runtime, await _find(runtime, ticket), None, written)

    administer(work, user="users")


@app.command()
def close(ticket: TicketId) -> None:
    """Close a ticket: it takes no more messages."""

    async def work(runtime: Runtime) -> None:
        from remote_claude.users.domain.tickets import CloseTicket
        from remote_claude.users.handlers import TicketHandlers

        found = await _find(runtime, ticket)
        command = CloseTicket(org=found.event.org, ticket=ticket, by=None)
        await TicketHandlers(runtime.log, runtime.clock).handle(command)

    administer(work, user="users")


@app.command()
def bundle(
    ticket: TicketId, file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")]
) -> None:
    """Write the diagnostics that came with a ticket."""

    async def work(runtime: Runtime) -> None:
        event = (await _find(runtime, ticket)).event
        if event.bundle is None:
            raise CommandRefused(f"{ticket} came without diagnostics; ask for `rclaude support bundle`")
        content = await runtime.objects.get(event.org, event.bundle)
        with file.open("xb") as out:
            out.write(content)

    administer(work, user="users")


@app.command()
def receive() -> None:
    """Record a mail on standard input as an answer. For a mail server that pipes what comes to the support address.

    The sender says who answers. Pipe only mail whose sender the mail server has verified (DMARC).
    """
    given = sys.stdin.buffer.read()

    async def work(runtime: Runtime) -> None:
        from remote_claude.users.mail_answers import read_answer
        from remote_claude.users.settings import UsersSettings

        mail = read_answer(given)
        if mail is None:
            raise CommandRefused("the mail names no ticket in its subject, or has no text above the line")
        found = await _find(runtime, mail.ticket)
        operator = UsersSettings.from_environment(runtime.environment).support_address.lower()
        if operator and mail.sender == operator:
            await _record(runtime, found, None, mail.text, mail.message)
        elif mail.sender == (await _email(runtime, found.event.by)).lower():
            await _record(runtime, found, found.event.by, mail.text, mail.message)
        else:
            raise CommandRefused(f"the mail is neither by the operator nor by who opened {mail.ticket}")

    administer(work, user="users")


@dataclass(frozen=True)
class _Found:
    """A ticket, and when it was opened."""

    opened_at: str
    state: Ticket

    @property
    def event(self) -> TicketOpened:
        assert self.state.opened is not None
        return self.state.opened

    @property
    def closed(self) -> bool:
        return self.state.closed

    @property
    def answered(self) -> bool:
        return self.state.answered


async def _tickets(runtime: Runtime, ticket: str) -> dict[str, _Found]:
    """TicketHandlers by their ids: a fold of the log. `*` finds all."""
    from remote_claude.users.domain.tickets import evolve, initial_state

    found: dict[str, _Found] = {}
    async for batch in runtime.log.read(subjects=f"ev.users.*.ticket.{ticket}"):
        for recorded in batch:
            event = recorded.event
            before = found.get(event.ticket) or _Found(recorded.occurred_at, initial_state)
            found[event.ticket] = replace(before, state=evolve(before.state, event))
    return found


async def _find(runtime: Runtime, ticket: str) -> _Found:
    from remote_claude.runtime.ids import is_id

    found = await _tickets(runtime, ticket) if is_id("ticket", ticket) else {}
    if ticket not in found:
        raise CommandRefused(f"there is no ticket {ticket}; `rclaude-admin support list` shows the open ones")
    return found[ticket]


async def _shown(runtime: Runtime, found: _Found) -> dict[str, Any]:
    from remote_claude.contracts.contexts import ticket_title_context

    event = found.event
    return {
        "id": event.ticket,
        "org": event.org,
        "support": event.support,
        "title": await _open(runtime, event.title, ticket_title_context(event.ticket)),
        "opened_at": found.opened_at,
        "answered": found.answered,
        "closed": found.closed,
        "task": event.task,
        "bundle": event.bundle is not None,
    }


async def _open(runtime: Runtime, sealed: Sealed, context: str) -> str | None:
    from remote_claude.access.keyring import KeyErased

    try:
        return await runtime.keyring.open(sealed, context)
    except KeyErased:
        return None


async def _email(runtime: Runtime, user: str) -> str:
    """The address of a person; empty where none is known."""
    from remote_claude.contracts.contexts import email_context
    from remote_claude.eventsourcing import stream_id

    for recorded in await runtime.log.read_stream(stream_id("users", None, "user", user)):
        if (sealed := getattr(recorded.event, "email", None)) is not None:
            return await _open(runtime, sealed, email_context(user)) or ""
    return ""


async def _record(
    runtime: Runtime, found: _Found, by: str | None, text: str, message: str | None = None
) -> None:
    from remote_claude.contracts.contexts import ticket_message_context
    from remote_claude.users.domain.tickets import AnswerTicket
    from remote_claude.users.handlers import TicketHandlers

    if not 0 < len(text.strip()) <= MAX_TEXT:
        raise CommandRefused(f"an answer has a text of at most {MAX_TEXT} characters")
    org, ticket = found.event.org, found.event.ticket
    message = message or runtime.new_id("message")
    sealed = (await runtime.keyring.get(org)).seal(text, ticket_message_context(ticket, message))
    command = AnswerTicket(org=org, ticket=ticket, by=by, message=message, text=sealed)
    await TicketHandlers(runtime.log, runtime.clock).handle(command)
