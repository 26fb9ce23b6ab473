"""The kinds of credential, each folded from the events that make it and end it, and the memberships behind them."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from joserfc.jwt import JWTClaimsRegistry

from remote_claude.access import credential_secrets
from remote_claude.access.principal import (
    AccessToken,
    ApiKey,
    BrowserSession,
    Identity,
    Presented,
    ServiceAccountKey,
)
from remote_claude.access.refusals import Unauthenticated
from remote_claude.access.teams import TEAM, Teams
from remote_claude.contracts.auth import (
    ApiKeyIssued,
    ApiKeyRevoked,
    SessionOpened,
    SessionRevoked,
    SigningKeyRotated,
)
from remote_claude.contracts.users import (
    MemberJoined,
    MemberRemoved,
    MemberRoleChanged,
    OrgDeleted,
    OrgRestored,
    Role,
    ServiceAccountCreated,
    ServiceAccountRemoved,
    UserErased,
)
from remote_claude.eventsourcing.events import Clock, RecordedEvent, parse_timestamp

ISSUER = "remote-claude"
AUDIENCE = "remote-claude-api"
ALGORITHM = "ES256"
SERVICE_ACCOUNT = "sa_"
"""How the id of a service account begins."""


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization: Bearer` header; None for another scheme or none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


class Memberships:
    """Which organisations a person is in, and in which role."""

    handles: ClassVar[frozenset[str]] = frozenset(
        e.type
        for e in (
            MemberJoined,
            MemberRoleChanged,
            MemberRemoved,
            OrgDeleted,
            OrgRestored,
            ServiceAccountCreated,
            ServiceAccountRemoved,
            UserErased,
        )
    )

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Role]] = {}
        self._removed: set[tuple[str, str]] = set()
        self._deleted: set[str] = set()
        self._service_accounts: set[tuple[str, str]] = set()
        self._erased: set[str] = set()

    def fold(self, recorded: RecordedEvent) -> None:
        """Apply one event."""
        match recorded.event:
            case (
                MemberJoined(org=org, user=user, role=role) | MemberRoleChanged(org=org, user=user, role=role)
            ):
                self._of.setdefault(user, {})[org] = role
                self._removed.discard((org, user))
            case MemberRemoved(org=org, user=user):
                self._of.get(user, {}).pop(org, None)
                self._removed.add((org, user))
            case OrgDeleted(org=org):
                self._deleted.add(org)
            case OrgRestored(org=org):
                self._deleted.discard(org)
            case UserErased(user=user):
                self._erased.add(user)
            case ServiceAccountCreated(org=org, service_account=account):
                self._service_accounts.add((org, account))
            case ServiceAccountRemoved(org=org, service_account=account):
                self._service_accounts.discard((org, account))
                self._removed.add((org, account))

    def discard(self, recorded: RecordedEvent) -> None:
        """Nobody of an organisation of which an event can't be read may act for it."""
        if recorded.type == UserErased.type:
            self._erased.add(recorded.aggregate_id)
            return
        self._deleted.add(recorded.organisation or recorded.aggregate_id)

    def of(self, user: str) -> Mapping[str, Role]:
        """Organisation to role, in the order of joining."""
        if user in self._erased:
            return {}
        known = self._of.get(user, {})
        if self._deleted.isdisjoint(known):
            return known
        return {org: role for org, role in known.items() if org not in self._deleted}

    def has_service_account(self, org: str, account: str) -> bool:
        """Whether the organisation has this service account."""
        return (org, account) in self._service_accounts

    def excludes(self, org: str, user: str) -> bool:
        """Whether the organisation is gone, or the person was erased or removed from it."""
        return org in self._deleted or user in self._erased or (org, user) in self._removed

    def joined(self, user: str) -> list[str]:
        """The organisations that the person joined and did not leave, deleted ones too, and after the erasure."""
        return list(self._of.get(user, {}))

    def check_exists(self, user: str) -> None:
        """Raises `Unauthenticated` for a person who was erased."""
        if user in self._erased:
            raise Unauthenticated("This account has been deleted.")


class ApiKeyVerifier:
    """`Authorization: Bearer rck_...`, by the hashes of all live keys."""

    handles: ClassVar[frozenset[str]] = frozenset({ApiKeyIssued.type, ApiKeyRevoked.type})

    def __init__(self, clock: Clock, teams: Teams) -> None:
        self._clock, self._teams = clock, teams
        self._keys: dict[str, tuple[ApiKeyIssued, datetime | None]] = {}
        """By hash: the key, and when it expires."""
        self._hashes: dict[str, str] = {}
        self._used: dict[str, tuple[str, datetime]] = {}

    def take_used(self) -> dict[str, tuple[str, datetime]]:
        """The keys that were used since the last call: each with its organisation and its last use."""
        used, self._used = self._used, {}
        return used

    def fold(self, recorded: RecordedEvent) -> None:
        """Apply one event."""
        if recorded.type == ApiKeyRevoked.type:
            self.discard(recorded)
            return
        issued: ApiKeyIssued = recorded.event
        self._keys[issued.hash] = issued, _instant(issued.expires_at)
        self._hashes[issued.key] = issued.hash

    def discard(self, recorded: RecordedEvent) -> None:
        """The key is revoked; this works without decoding the event."""
        if (hash_ := self._hashes.pop(recorded.aggregate_id, None)) is not None:
            del self._keys[hash_]

    def verify(self, presented: Presented, memberships: Memberships) -> Identity | None:
        """Raises `Unauthenticated`; None for another kind of credential."""
        token = bearer(presented.authorization)
        if token is None or AccessTokens.is_one(token):
            return None
        if not credential_secrets.is_well_formed(token, credential_secrets.API_KEY):
            raise Unauthenticated("This is not an API key: it is mistyped or cut off.")
        known = self._keys.get(credential_secrets.digest(token))
        if known is None:
            raise Unauthenticated("This API key is unknown here, or it has been revoked.")
        issued, expires = known
        now = self._clock()
        if expires is not None and expires <= now:
            raise Unauthenticated("This API key has expired.")
        if memberships.excludes(issued.org, issued.user):
            raise Unauthenticated("This API key is of somebody who has left the organisation.")
        of_account = issued.user.startswith(SERVICE_ACCOUNT)
        if of_account and not memberships.has_service_account(issued.org, issued.user):
            raise Unauthenticated("This API key is of a service account that the organisation does not have.")
        of_team = issued.user.startswith(TEAM)
        if of_team and self._teams.get(issued.org, issued.user) is None:
            raise Unauthenticated("This API key is of a team that has been deleted.")
        of_nobody = of_account or of_team
        self._used[issued.key] = issued.org, now
        return Identity(
            user=issued.user,
            credential=ServiceAccountKey(issued.key) if of_nobody else ApiKey(issued.key),
            scopes=frozenset(issued.scopes),
            memberships=memberships.of(issued.user),
            org=issued.org,
        )


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that has not been revoked."""

    session: str
    user: str
    kind: str
    hash: str
    scopes: frozenset[str]
    expires: datetime


class BrowserSessions:
    """Open sessions, by id; those of a browser are presented as a cookie."""

    handles: ClassVar[frozenset[str]] = frozenset({SessionOpened.type, SessionRevoked.type})

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._live: dict[str, LiveSession] = {}
        self._hashes: dict[str, str] = {}

    def fold(self, recorded: RecordedEvent) -> None:
        """Apply one event."""
        if recorded.type == SessionRevoked.type:
            self.discard(recorded)
            return
        opened: SessionOpened = recorded.event
        expires = parse_timestamp(opened.expires_at)
        live = LiveSession(
            opened.session, opened.user, opened.kind, opened.hash, frozenset(opened.scopes), expires
        )
        self._live[opened.session] = live
        if opened.kind == "browser":
            self._hashes[opened.hash] = opened.session

    def discard(self, recorded: RecordedEvent) -> None:
        """The session is revoked; this works without decoding the event."""
        if (live := self._live.pop(recorded.aggregate_id, None)) is not None:
            self._hashes.pop(live.hash, None)

    def get(self, session: str) -> LiveSession | None:
        """A session that is neither revoked nor, for a browser's, expired."""
        live = self._live.get(session)
        if live is not None and live.kind == "browser" and live.expires <= self._clock():
            return None
        return live

    def verify(self, presented: Presented, memberships: Memberships) -> Identity | None:
        """Raises `Unauthenticated`; None without a cookie."""
        if not presented.cookie or presented.authorization is not None:
            return None
        session = self._hashes.get(credential_secrets.digest(presented.cookie))
        live = self.get(session) if session is not None else None
        if live is None:
            raise Unauthenticated("Your session has ended. Sign in again.")
        memberships.check_exists(live.user)
        return Identity(
            user=live.user,
            credential=BrowserSession(live.session),
            scopes=live.scopes,
            memberships=memberships.of(live.user),
        )


class AccessTokens:
    """`Authorization: Bearer <JWT>`: ES256, by the public keys that auth has published."""

    handles: ClassVar[frozenset[str]] = frozenset({SigningKeyRotated.type})
    LEEWAY_S: ClassVar[int] = 5

    def __init__(self, clock: Clock, sessions: BrowserSessions) -> None:
        self._clock, self._sessions = clock, sessions
        self._keys: dict[str, ECKey] = {}

    @staticmethod
    def is_one(token: str) -> bool:
        """Whether it looks like a JWT."""
        return token.startswith("eyJ") and token.count(".") == 2

    def fold(self, recorded: RecordedEvent) -> None:
        """Apply one event."""
        rotated: SigningKeyRotated = recorded.event
        self._keys[rotated.kid] = public_key(rotated.kid, rotated.x, rotated.y)

    def discard(self, recorded: RecordedEvent) -> None:
        """A key that can't be read verifies nothing."""

    @property
    def published(self) -> list[dict[str, object]]:
        """The public keys, as `/.well-known/jwks.json` has them."""
        return [dict(key.as_dict(private=False)) for key in self._keys.values()]

    def verify(self, presented: Presented, memberships: Memberships) -> Identity | None:
        """Raises `Unauthenticated`; None for another kind of credential."""
        text = bearer(presented.authorization)
        if text is None or not self.is_one(text):
            return None
        try:
            token = jwt.decode(text, KeySet(list(self._keys.values())), algorithms=[ALGORITHM])
            JWTClaimsRegistry(
                now=int(self._clock().timestamp()),
                leeway=self.LEEWAY_S,
                iss={"essential": True, "value": ISSUER},
                aud={"essential": True, "value": AUDIENCE},
                sub={"essential": True},
                exp={"essential": True},
                sid={"essential": True},
            ).validate(token.claims)
        except (JoseError, ValueError):
            raise Unauthenticated("This access token is damaged, expired or not of this server.") from None
        found = self.of_session(str(token.claims["sid"]), memberships)
        if not hmac.compare_digest(found.user, str(token.claims["sub"])):
            raise Unauthenticated("This access token is damaged, expired or not of this server.")
        return found

    def of_session(self, session: str, memberships: Memberships) -> Identity:
        """The person of an open session that was given tokens. Raises `Unauthenticated` once it has ended."""
        live = self._sessions.get(session)
        if live is None:
            raise Unauthenticated(
                "The session of this access token has ended. Sign in again: `rclaude login`."
            )
        memberships.check_exists(live.user)
        return Identity(
            user=live.user,
            credential=AccessToken(live.session),
            scopes=live.scopes,
            memberships=memberships.of(live.user),
        )


def public_key(kid: str, x: str, y: str) -> ECKey:
    """A published key."""
    return ECKey.import_key(
        {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig", "alg": ALGORITHM}
    )


def _instant(text: str | None) -> datetime | None:
    return parse_timestamp(text) if text else None
