"""Mail to people, by SMTP: services share how it is sent, each has its own address of a mail server."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import aiosmtplib

TIMEOUT_S = 10.0
SCHEMES = ("smtp", "smtps", "smtp+plain")
"""STARTTLS, TLS from the start, no TLS."""


class MailNotSent(Exception):
    """The mail server did not take the mail. `final`: it refused it, and would again."""

    code = "mail_not_sent"

    def __init__(self, detail: str, *, final: bool) -> None:
        super().__init__(detail)
        self.final = final


class Attachment(NamedTuple):
    """A file of a mail; `type` as `application/pdf`."""

    name: str
    type: str
    content: bytes


def checked_smtp_url(url: str) -> str:
    """The address itself. Raises `ValueError` unless it is `SCHEME://[USER:PASSWORD@]HOST[:PORT]`."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(f"not the address of a mail server: begin it with one of {', '.join(SCHEMES)}")
    return url


async def send(
    url: str,
    sender: str,
    to: str,
    subject: str,
    text: str,
    attachments: Sequence[Attachment] = (),
    *,
    reply_to: str = "",
) -> None:
    """Send a mail through the server at `url`. Raises `MailNotSent`."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    if reply_to:
        message["Reply-To"] = reply_to
    message.set_content(text)
    for name, type, content in attachments:
        main, sub = type.split("/")
        message.add_attachment(content, maintype=main, subtype=sub, filename=name)
    parts = urlsplit(url)
    try:
        await aiosmtplib.send(
            message,
            hostname=parts.hostname,
            port=parts.port,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            use_tls=parts.scheme == "smtps",
            start_tls=parts.scheme == "smtp",
            timeout=TIMEOUT_S,
        )
    except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPDataError, ValueError) as error:
        raise MailNotSent(f"{error.__class__.__name__}: {error}"[:200], final=True) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise MailNotSent(f"{error.__class__.__name__}: {error}"[:200], final=False) from error
