"""Commands on API keys, sessions, accounts at sign-in providers, and codes of devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from remote_claude.access import credential_secrets
from remote_claude.access.keyring import Keyring
from remote_claude.access.scopes import ORG_SCOPES
from remote_claude.auth.domain import identities, keys, sessions
from remote_claude.auth.domain.identities import Linked, LinkIdentity, UnlinkIdentity
from remote_claude.auth.domain.keys import IssueKey, RevokeKey
from remote_claude.auth.domain.sessions import OpenSession, RefreshSession, RevokeSession, SessionEnded
from remote_claude.auth.providers import ProviderProfile
from remote_claude.auth.tickets import Tickets
from remote_claude.contracts import Sealed
from remote_claude.contracts.auth import (
    DeviceAuthorized,
    RevocationReason,
    SessionKind,
    SessionRevoked,
    SignInMethod,
)
from remote_claude.contracts.contexts import (
    email_context,
    identity_subject_context,
    name_context,
    session_client_context,
)
from remote_claude.contracts.key_use import UsedKeys, UsedKeysTaken
from remote_claude.contracts.refusals import Refusal
from remote_claude.edge.caller import ClientInfo
from remote_claude.eventsourcing import (
    Clock,
    CommandHandler,
    Decider,
    EventLog,
    NewEventId,
    new_event_id,
    stream_id,
    timestamp,
)
from remote_claude.eventsourcing.command_handler import Handled

BROWSER_LASTS = timedelta(days=30)
CLI_LASTS = timedelta(days=90)
"""How long a session of the CLI may rest between two uses."""


KEY = Decider(keys.initial_state, keys.decide, keys.evolve)
SESSION = Decider(sessions.initial_state, sessions.decide, sessions.evolve)
IDENTITY = Decider(identities.initial_state, identities.decide, identities.evolve)
DEVICE = Decider[DeviceAuthorized, bool](
    False, lambda event, authorized: [] if authorized else [event], lambda *_: True
)


class ApiKeys:
    """Commands on API keys."""

    def __init__(self, log: EventLog, clock: Clock, event_id: NewEventId = new_event_id) -> None:
        self._handler = CommandHandler(log, clock, event_id)

    async def issue(
        self,
        *,
        key: str,
        org: str,
        user: str,
        secret: str,
        scopes: tuple[str, ...] = ORG_SCOPES,
        expires_at: str | None = None,
        name: Sealed | None = None,
        issued_by: str | None = None,
    ) -> int:
        """Let `secret` act for the organisation; only its hash is recorded. Returns the position. Raises `UnknownScope`."""
        command = IssueKey(
            key=key,
            org=org,
            user=user,
            prefix=secret[: credential_secrets.SHOWN],
            hash=credential_secrets.digest(secret),
            scopes=scopes,
            expires_at=expires_at,
            name=name,
            issued_by=issued_by,
        )
        return await self._handle(command)

    async def revoke(self, *, key: str, org: str, reason: str, owner: str | None = None) -> int:
        """Refuse the key from here on; with `owner` only one of theirs. Raises `KeyNotFound`."""
        return await self._handle(RevokeKey(key=key, org=org, reason=reason, owner=owner))

    async def note_uses(self, report: UsedKeys) -> UsedKeysTaken:
        """Record which keys were used."""
        for used in report.keys:
            await self._handle(keys.NoteUse(key=used.key, org=used.org, at=used.at))
        return UsedKeysTaken()

    async def _handle(self, command: keys.Command) -> int:
        stream = stream_id("auth", command.org, "key", command.key)
        return (await self._handler.handle(KEY, stream, command)).position


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedSession:
    """A new session; `secret` is its cookie or its refresh token, and is stored nowhere else."""

    session: str
    secret: str
    position: int


class IdentityTaken(Refusal):
    """The account at the provider belongs to another person."""

    code = "identity_taken"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "This account signs another person in here. Sign in with it, or use another account."
        )


class Identities:
    """Commands on accounts at sign-in providers."""

    def __init__(
        self,
        log: EventLog,
        keyring: Keyring,
        tickets: Tickets,
        clock: Clock,
        new_id: Callable[[str], str],
        event_id: NewEventId = new_event_id,
    ) -> None:
        self._handler = CommandHandler(log, clock, event_id)
        self._keyring, self._tickets, self._new_id = keyring, tickets, new_id

    async def person(self, provider: str, profile: ProviderProfile, user: str | None = None) -> str:
        """The person of an account: a new one at its first sign-in, or `user`, who asked for it to be linked.

        Raises `IdentityTaken` where `user` is not the account's person.
        """
        own = await self._tickets.key()
        identity = f"identity_{own.fingerprint(f'{profile.issuer} {profile.subject}'.encode())[:32]}"
        linked = user or self._new_id("user")
        key = await self._keyring.create(linked)
        email_hash = own.fingerprint(profile.email.lower().encode()) if profile.email else None
        command = LinkIdentity(
            identity=identity,
            user=linked,
            provider=provider,
            subject=key.seal(profile.subject, identity_subject_context(identity)),
            name=key.seal(profile.name, name_context(linked)),
            email=key.seal(profile.email, email_context(linked)) if profile.email else None,
            email_hash=email_hash,
        )
        stream = stream_id("auth", None, "identity", identity)
        await self._handler.handle(IDENTITY, stream, command)
        state, _ = await self._handler.load(IDENTITY, stream)
        assert isinstance(state, Linked)
        if state.user != linked:
            if user is not None:
                raise IdentityTaken
            await self._keyring.erase(linked)  # it sealed nothing that is kept
        return state.user

    async def unlink(self, identity: str, user: str) -> int:
        """Take an account away from its person. Returns the position. Raises `IdentityNotFound`."""
        command = UnlinkIdentity(identity=identity, user=user)
        stream = stream_id("auth", None, "identity", identity)
        return (await self._handler.handle(IDENTITY, stream, command)).position


class Devices:
    """Codes of machines without a browser, which a signed-in person confirms."""

    def __init__(self, log: EventLog, clock: Clock, event_id: NewEventId = new_event_id) -> None:
        self._log, self._handler = log, CommandHandler(log, clock, event_id)

    async def authorize(self, device: str, user: str, session: str) -> None:
        """Confirm it, once."""
        confirmed = DeviceAuthorized(device=device, user=user, session=session)
        await self._handler.handle(DEVICE, _device_stream(device), confirmed)

    async def authorized_by(self, device: str) -> str | None:
        """The person who has confirmed it."""
        history = await self._log.read_stream(_device_stream(device))
        return str(history[0].event.user) if history else None


def _device_stream(device: str) -> str:
    return stream_id("auth", None, "device", device)


class Sessions:
    """Commands on sessions."""

    def __init__(
        self, log: EventLog, keyring: Keyring, clock: Clock, event_id: NewEventId = new_event_id
    ) -> None:
        self._handler = CommandHandler(log, clock, event_id)
        self._keyring, self._clock = keyring, clock

    async def open(
        self,
        *,
        session: str,
        user: str,
        kind: SessionKind,
        method: SignInMethod,
        scopes: tuple[str, ...],
        client: ClientInfo,
    ) -> OpenedSession:
        """Open a session under an id that was chosen before. Raises `SignInUsed` for one that has been used."""
        browser = kind == "browser"
        secret = credential_secrets.generate(
            credential_secrets.SESSION if browser else credential_secrets.REFRESH
        )
        key = await self._keyring.get(user)
        command = OpenSession(
            session=session,
            user=user,
            kind=kind,
            method=method,
            hash=credential_secrets.digest(secret),
            scopes=scopes,
            expires_at=timestamp(self._clock() + (BROWSER_LASTS if browser else CLI_LASTS)),
            client=key.seal(client.to_json(), session_client_context(session)),
        )
        position = (await self._handle(command)).position
        return OpenedSession(session=session, secret=secret, position=position)

    async def refresh(self, session: str, token: str) -> OpenedSession:
        """Take a refresh token and give the next. Raises `SessionEnded`; a used token ends the session."""
        secret = credential_secrets.generate(credential_secrets.REFRESH)
        command = RefreshSession(
            session=session,
            presented=credential_secrets.digest(token),
            hash=credential_secrets.digest(secret),
            now=timestamp(self._clock()),
            expires_at=timestamp(self._clock() + CLI_LASTS),
        )
        handled = await self._handle(command)
        if any(isinstance(event, SessionRevoked) for event in handled.events):
            raise SessionEnded
        return OpenedSession(session=session, secret=secret, position=handled.position)

    async def revoke(self, session: str, user: str, reason: RevocationReason) -> int:
        """End a session. Returns the position. Raises `SessionNotFound`."""
        return (await self._handle(RevokeSession(session=session, user=user, reason=reason))).position

    async def _handle(self, command: sessions.Command) -> Handled:
        return await self._handler.handle(
            SESSION, stream_id("auth", None, "session", command.session), command
        )
