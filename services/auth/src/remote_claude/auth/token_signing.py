"""The key that signs access tokens: made here, published in the log, replaced every thirty days."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from joserfc import jwt
from joserfc.jwk import ECKey

from remote_claude.access.credentials import ALGORITHM, AUDIENCE, ISSUER
from remote_claude.access.keyring import KeyErased
from remote_claude.auth.tickets import Tickets
from remote_claude.contracts.auth import SigningKeyRotated
from remote_claude.contracts.contexts import signing_key_context
from remote_claude.eventsourcing import Clock, CommandHandler, Decider, EventLog, RecordedEvent, stream_id
from remote_claude.eventsourcing.events import parse_timestamp
from remote_claude.runtime.ids import new_id

ROTATED_AFTER = timedelta(days=30)
POLL_S = 3600.0
TOKEN_LASTS = timedelta(minutes=5)
STREAM = stream_id("auth", None, "signing", "tokens")


class SigningKeys:
    """Signs access tokens. `rotate` comes first."""

    def __init__(self, log: EventLog, tickets: Tickets, clock: Clock) -> None:
        self._log, self._tickets, self._clock = log, tickets, clock
        self._handler = CommandHandler(log, clock)
        self._key: ECKey | None = None

    async def run(self) -> None:
        """Replace the key when its time has come; never ends by itself."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.rotate()

    async def rotate(self) -> None:
        """Take the newest key, or make one where there is none, or none that is young enough and can be opened."""
        history = await self._log.read_stream(STREAM)
        if history and await self._take(history[-1]):
            return
        made = ECKey.generate_key("P-256", private=True)
        public = made.as_dict(private=False)
        kid = new_id("kid")
        own = await self._tickets.key()
        rotated = SigningKeyRotated(
            kid=kid,
            x=str(public["x"]),
            y=str(public["y"]),
            private=own.seal(made.as_pem(private=True).decode(), signing_key_context(kid)),
        )
        decider = Decider[SigningKeyRotated, int](
            0,
            lambda event, made: [event] if made == len(history) else [],  # another process was faster
            lambda made, _: made + 1,
        )
        await self._handler.handle(decider, STREAM, rotated)
        await self._take((await self._log.read_stream(STREAM))[-1])

    async def _take(self, recorded: RecordedEvent) -> bool:
        event: SigningKeyRotated = recorded.event
        if self._clock() - parse_timestamp(recorded.occurred_at) > ROTATED_AFTER:
            return False
        try:
            own = await self._tickets.key()
            pem = own.open(event.private, signing_key_context(event.kid))
        except KeyErased:
            return False
        self._key = ECKey.import_key(pem, {"kid": event.kid})
        return True

    def token(self, user: str, session: str) -> str:
        """An access token of five minutes."""
        assert self._key is not None, "rotate comes first"
        now = self._clock()
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user,
            "sid": session,
            "iat": int(now.timestamp()),
            "exp": int((now + TOKEN_LASTS).timestamp()),
        }
        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid}, claims, self._key)
