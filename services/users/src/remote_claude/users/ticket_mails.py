"""Mails the messages of tickets: the organisation's to the operator, the operator's to who opened the ticket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.contexts import email_context, ticket_message_context, ticket_title_context
from remote_claude.contracts.users import TicketMailFailed, TicketMailSent
from remote_claude.eventsourcing.postgres.effects import Done, Outbox, Park, Retry, Verdict
from remote_claude.eventsourcing.postgres.outbox_table import OutboxRow
from remote_claude.runtime.mail import Attachment, MailNotSent, send
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.service import Runtime
from remote_claude.users.projections import directory
from remote_claude.users.projections.tickets import (
    TO_CUSTOMER,
    TicketMailRow,
    TicketRow,
    TicketsView,
    ticket,
)
from remote_claude.users.settings import UsersSettings

GIVE_UP_S = 3 * 24 * 3600.0
REPLY_ABOVE = "-- reply above this line --"
"""An answer by mail ends here: what follows is what it quotes."""


class TicketMails:
    """The handle to the mail server."""

    def __init__(self, runtime: Runtime, settings: UsersSettings) -> None:
        self._runtime, self._settings = runtime, settings

    async def perform(self, row: OutboxRow) -> Verdict:
        """Mail one message."""
        about, settings = row.payload, self._settings
        if not settings.smtp_url.get_secret_value():
            return Park("no_mail_server")
        found = await ticket(self._runtime.pool, about["org"], about["ticket"])
        assert found is not None  # the view that asks for the mail has it
        shown, messages = found
        [message] = [m for m in messages if m.id == about["message"]]
        keyring = self._runtime.keyring
        try:
            to = await self._address(shown) if about["to"] == TO_CUSTOMER else settings.support_address
            if not to:
                return Park("no_address")
            title = await keyring.open(shown.title, ticket_title_context(shown.id))
            text = await keyring.open(message.text, ticket_message_context(shown.id, message.id))
            attached = [] if about["to"] == TO_CUSTOMER else await self._attached(shown, message.id)
        except KeyErased:
            return Park("key_erased")
        urgent = "[priority]" if shown.support == "priority" else ""
        try:
            await send(
                settings.smtp_url.get_secret_value(),
                settings.mail_from,
                to,
                f"[{shown.id}]{urgent} {title}",
                f"{REPLY_ABOVE}\n\n{text}\n\n{shown.id}, {shown.org}\n",
                attached,
                reply_to=settings.support_address,
            )
        except MailNotSent as error:
            return Park("refused") if error.final else Retry("unreachable")
        return Done(None)

    async def _address(self, shown: TicketRow) -> str:
        found = await directory.person(self._runtime.pool, shown.opened_by)
        if found is None or found[1] is None:
            return ""
        return await self._runtime.keyring.open(found[1], email_context(shown.opened_by))

    async def _attached(self, shown: TicketRow, message: str) -> list[Attachment]:
        """The diagnostics, with the ticket's own text."""
        if shown.bundle is None or message != shown.id:
            return []
        try:
            content = await self._runtime.objects.get(shown.org, shown.bundle)
        except ObjectNotFound:
            return []
        return [Attachment(f"{shown.id}.tar.gz", "application/gzip", content)]

    def outcome(self, row: OutboxRow, verdict: Done | Park) -> TicketMailSent | TicketMailFailed:
        """The event that settles it."""
        about = {name: row.payload[name] for name in ("org", "ticket", "message")}
        if isinstance(verdict, Park):
            return TicketMailFailed(**about, reason=verdict.reason)
        return TicketMailSent(**about)


def outbox(runtime: Runtime, settings: UsersSettings) -> Outbox:
    """The outbox of mails about tickets, for the host to work."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[TicketMails]:
        yield TicketMails(runtime, settings)

    return Outbox(view=TicketsView(), table=TicketMailRow, open=opened, give_up_s=GIVE_UP_S)
