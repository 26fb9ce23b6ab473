"""Tickets: short-lived statements that auth hands out and takes back, sealed, so that nothing has to be stored.

A sign-in link, an authorization code, a device code, the state of a sign-in at a provider and an account that waits to be
linked are tickets. One that may
be used once names the session that it opens: a session is opened once.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from datetime import timedelta
from typing import Any, Literal

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import DataKey, KeyErased, Keyring
from remote_claude.contracts import Sealed
from remote_claude.contracts.refusals import Refusal
from remote_claude.eventsourcing.events import Clock

OWN_KEY = "auth"
"""The data key of this service: for tickets, for the private signing key, and for keyed hashes."""

Kind = Literal["link", "code", "device", "state", "identity"]


class TicketRefused(Refusal):
    """A link or code that this server did not make, or whose time is over."""

    code = "ticket_refused"
    status = 400

    def __init__(self) -> None:
        super().__init__("This link or code has expired, or this server did not make it. Start again.")


class Tickets:
    """Seals and opens tickets. `create_key` comes first."""

    def __init__(self, keyring: Keyring, clock: Clock) -> None:
        self._keyring, self._clock = keyring, clock

    async def create_key(self) -> None:
        """Make the key of this service, if there is none yet."""
        await self._keyring.create(OWN_KEY)

    async def key(self) -> DataKey:
        """The key of this service."""
        return await self._keyring.get(OWN_KEY)

    async def seal(self, kind: Kind, content: dict[str, Any], lifetime: timedelta) -> str:
        """A ticket, as text that fits into a URL."""
        until = int((self._clock() + lifetime).timestamp())
        sealed = (await self.key()).seal(json.dumps({**content, "until": until}), _context(kind))
        return urlsafe_b64encode(urlsafe_b64decode(sealed.box)).decode().rstrip("=")

    async def open(self, kind: Kind, ticket: str) -> dict[str, Any]:
        """What was sealed. Raises `TicketRefused`."""
        try:
            box = urlsafe_b64encode(urlsafe_b64decode(ticket + "=" * (-len(ticket) % 4))).decode()
            text = (await self.key()).open(Sealed(key=OWN_KEY, box=box), _context(kind))
        except (KeyUnusable, KeyErased, NotBase64, ValueError):
            raise TicketRefused from None
        content: dict[str, Any] = json.loads(text)
        if content.pop("until") <= self._clock().timestamp():
            raise TicketRefused
        return content


def _context(kind: Kind) -> str:
    return f"auth/ticket/{kind}"
