"""Mail to people, by SMTP."""

from __future__ import annotations

import structlog

from remote_claude.runtime.mail import MailNotSent, send
from remote_claude.users.settings import UsersSettings

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
        until = expires_at[:16].replace("T", " ") + " UTC"
        text = INVITATION.format(inviter=inviter, org=org, role=role, url=url, until=until)
        try:
            await send(self._url, self._sender, to, f"{inviter} invites you to {org} on Remote Claude", text)
        except MailNotSent as error:
            log.warning("an invitation could not be mailed", detail=str(error))
            return False
        return True
