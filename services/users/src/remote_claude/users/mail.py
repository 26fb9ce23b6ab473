"""Mail to people, by SMTP."""

from __future__ import annotations

from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog

from remote_claude.users.settings import UsersSettings

TIMEOUT_S = 10.0
INVITATION = """\
{inviter} invites you to the organisation {org} on Remote Claude, as {role}.

Open this link to join. It is good once, until {until}:

{url}

If you do not know {inviter}, ignore this mail.
"""

log = structlog.get_logger(__name__)


class Mailer:
    """Sends mail where a mail server is set up."""

    def __init__(self, settings: UsersSettings) -> None:
        self._url, self._sender = settings.smtp_url.get_secret_value(), settings.mail_from

    async def invite(self, to: str, *, org: str, inviter: str, role: str, url: str, expires_at: str) -> bool:
        """Send an invitation. False where no mail server is set up or it did not take the mail, which is logged."""
        if not self._url:
            return False
        message = EmailMessage()
        message["From"], message["To"] = self._sender, to
        message["Subject"] = f"{inviter} invites you to {org} on Remote Claude"
        until = expires_at[:16].replace("T", " ") + " UTC"
        message.set_content(INVITATION.format(inviter=inviter, org=org, role=role, url=url, until=until))
        parts = urlsplit(self._url)
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
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            log.warning(
                "an invitation could not be mailed", error=type(error).__name__, detail=str(error)[:200]
            )
            return False
        return True
