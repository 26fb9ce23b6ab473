"""Who is asking: kinds of credential, the person behind one, and the organisation that is acted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from remote_claude.contracts.users import Role, TaskVisibility


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key of a person; it belongs to one organisation."""

    id: str


@dataclass(frozen=True, slots=True)
class ServiceAccountKey:
    """An API key of a service account or of a team. There is no person behind it, so no role: its scopes decide."""

    id: str


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """The cookie of a session."""

    id: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A signed token of a few minutes that a session was given; `id` is the session's."""

    id: str


Credential = ApiKey | ServiceAccountKey | BrowserSession | AccessToken
"""What was presented. Its `id` is what a revocation names."""

SEE_ALL: frozenset[Role] = frozenset({"owner", "admin", "billing"})
"""Roles that see every task. `billing` sees what each costs; the routes about tasks are not open to it."""

KEYS = (ApiKey, ServiceAccountKey)
"""Credentials that have no session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What a request shows of who is asking."""

    authorization: str | None = None
    cookie: str | None = None
    """The value of the session cookie."""
    org: str | None = None
    """The organisation that the request names; the person's first one if it names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person or a service account, by a credential that was checked.

    `memberships` are a person's organisations with their role there, in the order of joining; a service account has
    none. A key has `org`: it acts for no other organisation.
    """

    user: str
    credential: Credential
    scopes: frozenset[str]
    memberships: Mapping[str, Role] = field(default_factory=dict)
    org: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who acts for one organisation. `role` is None for a service account and for a team.

    `teams` are those that they are in, in the order of joining. `visibility` is the organisation's rule.
    """

    org: str
    user: str
    credential: Credential
    scopes: frozenset[str]
    role: Role | None = None
    teams: tuple[str, ...] = ()
    visibility: TaskVisibility = "own"

    @property
    def sees_all(self) -> bool:
        """Whether they see and steer every task of the organisation."""
        return self.visibility == "organisation" or self.role in SEE_ALL

    def sees(self, submitted_by: str | None, team: str | None) -> bool:
        """Whether they see and steer the tasks that a person has submitted for a team."""
        own = submitted_by == self.user or (self.visibility == "team" and team in self.teams)
        return own or self.sees_all
