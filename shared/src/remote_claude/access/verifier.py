"""The one place where a credential becomes somebody who may act, folded from the events of auth and users."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog

from remote_claude.access.credentials import AccessTokens, ApiKeyVerifier, BrowserSessions, Memberships
from remote_claude.access.permissions import OWNERS, PERMISSIONS, PERSONAL, Permission
from remote_claude.access.principal import (
    AccessToken,
    Credential,
    Identity,
    Presented,
    Principal,
    ServiceAccountKey,
)
from remote_claude.access.refusals import (
    NoOrganisation,
    OrgNotFound,
    PersonRequired,
    RoleMissing,
    ScopeMissing,
    Unauthenticated,
)
from remote_claude.access.scopes import allows
from remote_claude.access.teams import Teams
from remote_claude.contracts import UndecodableEvent, UnknownVersion
from remote_claude.eventsourcing.events import Clock, RecordedEvent
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.positions import Reached
from remote_claude.eventsourcing.tail import Tail

log = structlog.get_logger(__name__)

WHO = (
    "ev.users._.user.>",
    "ev.users.*.org.>",
    "ev.users.*.policy.>",
    "ev.users.*.service_account.>",
    "ev.auth.>",
)
"""The streams that tell who there is and what they see, in the order in which they are loaded."""


class Verifier:
    """Asks each kind of credential in turn. `run` follows the log, so that a revocation applies at once."""

    def __init__(self, log: EventLog, tail: Tail, clock: Clock) -> None:
        self._log, self._tail = log, tail
        self._position = 0
        self._reached = Reached()
        self.memberships, self.teams = Memberships(), Teams()
        self.sessions = BrowserSessions(clock)
        self.tokens = AccessTokens(clock, self.sessions)
        self.keys = ApiKeyVerifier(clock, self.teams)
        self._chain = (self.keys, self.tokens, self.sessions)

    async def load(self) -> None:
        """Fold what auth and users have recorded so far."""
        self._position = await self._log.last_position()
        for subjects in WHO:
            async for batch in self._log.read(until=self._position, subjects=subjects):
                self.fold(batch)
        self._reached.reach(self._position)

    async def run(self) -> None:
        """Fold what they record from now on; never ends by itself."""
        async for batch in self._tail.subscribe(after=self._position):
            self.fold(batch)
            self._position = batch[-1].position
            self._reached.reach(self._position)

    @property
    def position(self) -> int:
        """Everything up to here is known. A view may be behind it."""
        return self._position

    async def wait_for(self, position: int, timeout: float) -> bool:
        """Wait until everything up to `position` is known here, at most `timeout` seconds; False when it is not."""
        return await self._reached.wait_for(position, timeout)

    async def wait_for_member(self, user: str, timeout: float) -> bool:
        """Wait until a person is in an organisation, at most `timeout` seconds; False when it is not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self.memberships.of(user):
                    await self._reached.wait_for(self._reached.position + 1, timeout)
        return bool(self.memberships.of(user))

    def fold(self, batch: Sequence[RecordedEvent]) -> None:
        """Apply events, ignore those of no concern. A credential of which an event can't be read is refused from then on."""
        for recorded in batch:
            for folding in (self.memberships, self.teams, *self._chain):
                if recorded.type not in folding.handles:
                    continue
                try:
                    folding.fold(recorded)
                except (UnknownVersion, UndecodableEvent) as error:
                    log.error(
                        "an event of a credential can't be read", recorded=repr(recorded), detail=str(error)
                    )
                    folding.discard(recorded)

    def admit(self, presented: Presented, operation: str) -> Principal:
        """Who acts, and may do this. Raises `Unauthenticated`, `OrgNotFound`, `ScopeMissing`, `RoleMissing`."""
        return permit(self.act(self.identify(presented), presented.org), PERMISSIONS[operation])

    def readmit(self, presented: Presented, credential: Credential, operation: str) -> Principal:
        """As `admit`, for what stays open after it. An access token, of a few minutes, counts while its session is open."""
        if isinstance(credential, AccessToken):
            identity = self.tokens.of_session(credential.id, self.memberships)
        else:
            identity = self.identify(presented)
        return permit(self.act(identity, presented.org), PERMISSIONS[operation])

    def admit_person(self, presented: Presented, operation: str) -> Identity:
        """Who asks, and may do this in no organisation. Raises `Unauthenticated`, `PersonRequired`, `ScopeMissing`."""
        identity = self.identify(presented)
        needed = PERSONAL[operation]
        if needed is not None and isinstance(identity.credential, ServiceAccountKey):
            raise PersonRequired
        if needed is not None and not allows(identity.scopes, needed):
            raise ScopeMissing(needed, identity.scopes)
        return identity

    def identify(self, presented: Presented) -> Identity:
        """Who asks, whatever for. Raises `Unauthenticated`."""
        for kind in self._chain:
            if (identity := kind.verify(presented, self.memberships)) is not None:
                return identity
        raise Unauthenticated("Send an API key as `Authorization: Bearer rck_...`, or sign in.")

    def act(self, identity: Identity, org: str | None) -> Principal:
        """The identity, acting for the organisation that is named. Raises `OrgNotFound`, `NoOrganisation`."""
        if identity.org is not None:
            if org not in (None, identity.org):
                raise OrgNotFound(org or "")
            org = identity.org
        elif org is None:
            org = next(iter(identity.memberships), None)
            if org is None:
                raise NoOrganisation
        role = identity.memberships.get(org)
        if role is None and not isinstance(identity.credential, ServiceAccountKey):
            raise OrgNotFound(org)
        return Principal(
            org=org,
            user=identity.user,
            credential=identity.credential,
            scopes=identity.scopes,
            role=role,
            teams=self.teams.of(org, identity.user),
            visibility=self.teams.visibility(org),
        )


def permit(principal: Principal, permission: Permission) -> Principal:
    """Raises `ScopeMissing`, `RoleMissing`."""
    if not allows(principal.scopes, permission.scope):
        raise ScopeMissing(permission.scope, principal.scopes)
    if isinstance(
        principal.credential, ServiceAccountKey
    ):  # its scopes decide, but for what only owners may do
        if permission.roles == OWNERS:
            raise RoleMissing("that of a service account", permission.roles)
    elif principal.role is None or principal.role not in permission.roles:
        raise RoleMissing(principal.role or "that of no member", permission.roles)
    return principal
