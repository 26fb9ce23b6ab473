"""Reads an answer to a ticket out of a mail."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr
from uuid import UUID

from remote_claude.runtime.ids import derived_id, is_id
from remote_claude.users.ticket_mails import REPLY_ABOVE

MAILS = UUID("0b8e5f3c-6c92-5e0e-8f6d-2b1f9a7c4d10")
"""The id of a message that came by mail derives from that of the mail: the same mail again is the same message."""
NAMED = re.compile(r"\[(ticket_[0-9a-z]+)\]")
QUOTED = re.compile(r"^(>|On .+ wrote:$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailAnswer:
    """What a mail says in a ticket. `sender` is its address in lower case."""

    ticket: str
    message: str
    sender: str
    text: str


def read_answer(mail: bytes) -> MailAnswer | None:
    """The answer in a mail; None where it names no ticket or says nothing above what it quotes."""
    parsed = message_from_bytes(mail, policy=default)
    assert isinstance(parsed, EmailMessage)
    named = NAMED.search(str(parsed["Subject"] or ""))
    body = parsed.get_body(("plain",))
    if named is None or not is_id("ticket", named[1]) or body is None:
        return None
    lines = []
    for line in body.get_content().splitlines():
        if REPLY_ABOVE in line or QUOTED.match(line):
            break
        lines.append(line)
    text = "\n".join(lines).strip()
    if not text:
        return None
    sender = parseaddr(str(parsed["From"] or ""))[1].lower()
    message = derived_id("message", MAILS, str(parsed["Message-ID"] or text))
    return MailAnswer(ticket=named[1], message=message, sender=sender, text=text)
