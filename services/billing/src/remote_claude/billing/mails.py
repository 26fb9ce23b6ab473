"""Sends what the view `billing_mail` asks for, and records the outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from remote_claude.access.keyring import KeyErased
from remote_claude.billing.domain.invoice import minor_digits
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.projections.mail import MailRow, MailView
from remote_claude.contracts.billing import MailFailed, MailSent
from remote_claude.eventsourcing.postgres.effects import Done, Outbox, Park, Retry, Verdict
from remote_claude.eventsourcing.postgres.outbox_table import OutboxRow
from remote_claude.runtime.mail import Attachment, MailNotSent, send

GIVE_UP_S = 3 * 24 * 3600.0
METERS = {"executions": "executions", "model_nano_usd": "model use"}


class Mails:
    """The handle to the mail server; `url` is empty where there is none."""

    def __init__(self, invoices: Invoices, url: str, sender: str) -> None:
        self._invoices, self._url, self._sender = invoices, url, sender

    async def perform(self, row: OutboxRow) -> Verdict:
        """Send one mail."""
        about = row.payload
        if not self._url:
            return Park("no_mail_server")
        try:
            customer = await self._invoices.customer(await self._invoices.account(about["org"]))
        except KeyErased:
            return Park("key_erased")
        if customer is None or not customer.get("email"):
            return Park("no_address")
        attached = []
        if "pdf_sha256" in about:
            for sha256, kind, type in (
                (about["pdf_sha256"], "pdf", "application/pdf"),
                (about["json_sha256"], "json", "application/json"),
            ):
                content = await self._invoices.stored(about["org"], sha256)
                attached.append(Attachment(f"{about['number']}.{kind}", type, content))
        subject, text = letter(about)
        try:
            await send(self._url, self._sender, customer["email"], subject, text, attached)
        except MailNotSent as error:
            return Park("refused") if error.final else Retry("unreachable")
        return Done(None)

    def outcome(self, row: OutboxRow, verdict: Done | Park) -> MailSent | MailFailed:
        """The event that settles it."""
        about = {name: row.payload[name] for name in ("org", "about", "reference")}
        if isinstance(verdict, Park):
            return MailFailed(**about, reason=verdict.reason)
        return MailSent(**about)


def letter(about: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text of a mail."""
    match about["about"]:
        case "invoice":
            total = _amount(about)
            return f"Invoice {about['number']}", f"Invoice {about['number']} over {total} is attached.\n"
        case "credit_note":
            total = _amount(about)
            return (
                f"Credit note {about['number']}",
                f"Credit note {about['number']} over {total} is attached.\n",
            )
        case "payment_failed":
            return (
                "A payment failed",
                f"Attempt {about['attempt']} to collect invoice {about['reference']} failed.\n"
                "Change your card: rclaude billing portal\n",
            )
        case _:
            meter = METERS.get(about["meter"], about["meter"])
            return (
                f"{about['percent']} % of your {meter} are used",
                f"{about['percent']} % of what your plan allows of {meter} in {about['reference']} are used:"
                f" {about['used']} of {about['limit']}.\nA larger plan: rclaude billing plans\n",
            )


def _amount(about: Mapping[str, Any]) -> str:
    digits = minor_digits(about["currency"])
    whole, part = divmod(about["total"], 10**digits)
    return f"{whole}{f'.{part:0{digits}}' if digits else ''} {about['currency'].upper()}"


def outbox(mails: Mails) -> Outbox:
    """Billing's outbox of mails, for the host to work."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Mails]:
        yield mails

    return Outbox(view=MailView(), table=MailRow, open=opened, give_up_s=GIVE_UP_S)
