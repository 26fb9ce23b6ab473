"""Events of the users service: people and organisations."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from remote_claude.contracts.base import Event, Quantity, Sealed, Value
from remote_claude.contracts.billing import SupportTier

Role = Literal["owner", "admin", "member", "billing"]
TaskVisibility = Literal["own", "team", "organisation"]
"""Which tasks a member sees and steers. Owners and admins see all; so does a service account where it is `organisation`."""


class UsersEvent(Event):
    producer: ClassVar[str] = "users"
    aggregate: ClassVar[str] = "org"


class UserRegistered(UsersEvent):
    type: ClassVar[str] = "UserRegistered"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "user"
    in_organisation: ClassVar[bool] = False

    user: str
    name: Sealed
    email: Sealed | None = None


class ProfileChanged(UsersEvent):
    """A person goes by another name."""

    type: ClassVar[str] = "ProfileChanged"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "user"
    in_organisation: ClassVar[bool] = False

    user: str
    name: Sealed


class UserErased(UsersEvent):
    """The person's data key is deleted next: nothing that it sealed can be read again."""

    type: ClassVar[str] = "UserErased"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "user"
    in_organisation: ClassVar[bool] = False

    user: str


class OrgCreated(UsersEvent):
    """An organisation and its first owner. Its data key is stored in `KEYS` before this is appended.

    `personal` is the one that every person has from the start.
    """

    type: ClassVar[str] = "OrgCreated"
    version: ClassVar[int] = 1

    org: str
    name: Sealed
    owner: str
    personal: bool = False


class OrgSettingsChanged(UsersEvent):
    """What is None stays as it was."""

    type: ClassVar[str] = "OrgSettingsChanged"
    version: ClassVar[int] = 1

    org: str
    by: str
    name: Sealed | None = None


class OrgDeleted(UsersEvent):
    """Nobody acts for it from here on. It can come back until `erased_at`."""

    type: ClassVar[str] = "OrgDeleted"
    version: ClassVar[int] = 1

    org: str
    by: str
    erased_at: str


class OrgRestored(UsersEvent):
    """It was deleted, and is back."""

    type: ClassVar[str] = "OrgRestored"
    version: ClassVar[int] = 1

    org: str
    by: str


class OrgErased(UsersEvent):
    """It was deleted and did not come back in time. Its data key is deleted next: nothing that it sealed can be read again."""

    type: ClassVar[str] = "OrgErased"
    version: ClassVar[int] = 1

    org: str


class OrgSuspended(UsersEvent):
    """The operator admits no task of it from here on; what is queued or runs goes on. `reason` is shown to its members."""

    type: ClassVar[str] = "OrgSuspended"
    version: ClassVar[int] = 1

    org: str
    reason: str


class OrgResumed(UsersEvent):
    """It was suspended; its tasks are admitted again."""

    type: ClassVar[str] = "OrgResumed"
    version: ClassVar[int] = 1

    org: str


class StackConfigured(UsersEvent):
    """An organisation has an installation of its own, set up like this. A later event: it was upgraded or changed."""

    type: ClassVar[str] = "StackConfigured"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "stack"

    stack: str
    """Its name, which its namespace ends in."""
    org: str
    plan: str
    domain: str
    objects: str
    """The URL of its bucket."""
    registry: str
    release: str
    """The tag of its images."""


class StackRemoved(UsersEvent):
    """The installation is no longer kept in the inventory."""

    type: ClassVar[str] = "StackRemoved"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "stack"

    stack: str
    org: str


class MemberInvited(UsersEvent):
    """The holder of the invitation's secret can join in this role. `email` is sealed by the organisation's key.

    A later event for the same invitation: it was sent again, with another secret and a later end.
    """

    type: ClassVar[str] = "MemberInvited"
    version: ClassVar[int] = 1

    org: str
    invitation: str
    email: Sealed | None
    role: Role
    hash: str
    by: str
    expires_at: str


class InvitationRevoked(UsersEvent):
    """The invitation was revoked: its link no longer works."""

    type: ClassVar[str] = "InvitationRevoked"
    version: ClassVar[int] = 1

    org: str
    invitation: str
    by: str


class MemberJoined(UsersEvent):
    type: ClassVar[str] = "MemberJoined"
    version: ClassVar[int] = 1

    org: str
    user: str
    role: Role
    invitation: str | None = None


class MemberRoleChanged(UsersEvent):
    type: ClassVar[str] = "MemberRoleChanged"
    version: ClassVar[int] = 1

    org: str
    user: str
    role: Role
    by: str


class MemberRemoved(UsersEvent):
    """Removed, or left (`by` is the member). Its API keys of the organisation are refused from here on."""

    type: ClassVar[str] = "MemberRemoved"
    version: ClassVar[int] = 1

    org: str
    user: str
    by: str


class TeamCreated(UsersEvent):
    """A named group of members. `name` is sealed by the organisation's key; `name_hash`, a keyed hash, is one team's only."""

    type: ClassVar[str] = "TeamCreated"
    version: ClassVar[int] = 1

    org: str
    team: str
    name: Sealed
    name_hash: str
    by: str


class TeamDeleted(UsersEvent):
    """Its API keys are refused from here on. Its tasks stay."""

    type: ClassVar[str] = "TeamDeleted"
    version: ClassVar[int] = 1

    org: str
    team: str
    by: str


class TeamMemberAdded(UsersEvent):
    type: ClassVar[str] = "TeamMemberAdded"
    version: ClassVar[int] = 1

    org: str
    team: str
    user: str
    by: str


class TeamMemberRemoved(UsersEvent):
    """A member who leaves the organisation leaves its teams too, without this event."""

    type: ClassVar[str] = "TeamMemberRemoved"
    version: ClassVar[int] = 1

    org: str
    team: str
    user: str
    by: str


class TeamLabelsSet(UsersEvent):
    """The labels that the tasks of a team bear from here on, and no others may. They replace those before.

    `labels` is a JSON object, sealed by the organisation's key. `label_hashes` are keyed hashes, each of a name with its value.
    """

    type: ClassVar[str] = "TeamLabelsSet"
    version: ClassVar[int] = 1

    org: str
    team: str
    labels: Sealed
    label_hashes: tuple[str, ...]
    by: str


class ServiceAccountCreated(UsersEvent):
    """An account that is no person, for machines: API keys can be of it. `name` is sealed by the organisation's key."""

    type: ClassVar[str] = "ServiceAccountCreated"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "service_account"

    org: str
    service_account: str
    name: Sealed
    by: str


class ServiceAccountRemoved(UsersEvent):
    """Its API keys are refused from here on."""

    type: ClassVar[str] = "ServiceAccountRemoved"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "service_account"

    org: str
    service_account: str
    by: str


class VaultEvent(UsersEvent):
    """About the secrets of an organisation and of its people there. `owner` is the person; None is the organisation."""

    aggregate: ClassVar[str] = "vault"

    org: str
    by: str
    owner: str | None = None


ModelProvider = Literal["anthropic", "openai", "bedrock", "vertex", "gemini"]
"""Kinds of model services: by the API that they speak."""
SPEAKS: Mapping[str, frozenset[ModelProvider]] = {
    "claude": frozenset({"anthropic", "bedrock", "vertex"}),
    "codex": frozenset({"openai"}),
    "gemini": frozenset({"gemini"}),
    "opencode": frozenset({"anthropic", "openai"}),
}
"""The agents that need a model, and the kinds of services that each can use."""


class ModelAccess(Value):
    """A credential for a model's service: which kind of service, its address, and the header that carries the credential.

    Bedrock has a `region`, Vertex a `region` and a `project`. `model` is the one that tasks use which name none.
    """

    provider: ModelProvider = "anthropic"
    base_url: str
    header: Literal["x-api-key", "authorization"] = "x-api-key"
    region: str | None = None
    project: str | None = None
    model: str | None = None


class SecretStored(VaultEvent):
    """A secret that `secret_name` names; a later one replaces it. It is sealed for its owner.

    A secret with `hosts` (`HOST[:PORT]`, `*.` in front for every host below) is for tasks that name it: a placeholder
    replaces it in the sandbox, and its value goes to these hosts only. With `as_env` the sandbox gets the value itself.
    One with `model` is a credential for a model. One with none of these is used by the services only, such as the
    token for a forge.
    """

    type: ClassVar[str] = "SecretStored"
    version: ClassVar[int] = 1

    secret_name: str
    value: Sealed
    hosts: tuple[str, ...] = ()
    as_env: bool = False
    model: ModelAccess | None = None


class SecretRemoved(VaultEvent):
    """Tasks that start from here on do not get it."""

    type: ClassVar[str] = "SecretRemoved"
    version: ClassVar[int] = 1

    secret_name: str


class ModelChosen(VaultEvent):
    """The model credential that tasks use from here on; None is the operator's."""

    type: ClassVar[str] = "ModelChosen"
    version: ClassVar[int] = 1

    secret_name: str | None


class PolicyEvent(UsersEvent):
    """About what an organisation allows its members, and what they may spend."""

    aggregate: ClassVar[str] = "policy"

    org: str
    by: str


class OrgPolicySet(PolicyEvent):
    """What tasks of the organisation may use from here on. It replaces the policy before it.

    An empty list allows everything. `models` and `images` are patterns with `*`. `hosts` are what a task may connect to
    (`HOST[:PORT]`, `*.` in front for every host below, `default` for the product's list). `network` is what the
    organisation adds to the default list. A task that names no provider gets `default_provider`.
    `max_budget_nano_usd` bounds the budget of a task, and is the budget of one that names none. `task_visibility` says
    which tasks a member sees.
    """

    type: ClassVar[str] = "OrgPolicySet"
    version: ClassVar[int] = 1

    agents: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    default_provider: str | None = None
    max_budget_nano_usd: Quantity | None = None
    task_visibility: TaskVisibility = "organisation"


class MonthlyBudgetSet(PolicyEvent):
    """What the models of tasks may cost in a month: those of `user` or of `team`, or of the organisation if both are None.

    None as `nano_usd` lifts the limit.
    """

    type: ClassVar[str] = "MonthlyBudgetSet"
    version: ClassVar[int] = 1

    user: str | None = None
    team: str | None = None
    nano_usd: Quantity | None = None


class TicketEvent(UsersEvent):
    """About a ticket: a request for support. `by` is the person of the organisation; None is the operator."""

    aggregate: ClassVar[str] = "ticket"

    org: str
    ticket: str


class TicketOpened(TicketEvent):
    """`support` is the tier of the plan at that time. `bundle` is the SHA-256 of the diagnostics that came with it."""

    type: ClassVar[str] = "TicketOpened"
    version: ClassVar[int] = 1

    by: str
    title: Sealed
    text: Sealed
    support: SupportTier
    task: str | None = None
    bundle: str | None = None


class TicketAnswered(TicketEvent):
    """A message in a ticket, by the organisation or by the operator. `message` is its id; the ticket's own text has the ticket's."""

    type: ClassVar[str] = "TicketAnswered"
    version: ClassVar[int] = 1

    by: str | None
    message: str
    text: Sealed


class TicketClosed(TicketEvent):
    """It takes no more messages."""

    type: ClassVar[str] = "TicketClosed"
    version: ClassVar[int] = 1

    by: str | None


class TicketMailSent(TicketEvent):
    """A message of a ticket was mailed, to the operator or to the person who opened the ticket."""

    type: ClassVar[str] = "TicketMailSent"
    version: ClassVar[int] = 1

    message: str


class TicketMailFailed(TicketEvent):
    """A message of a ticket was not mailed, for a stable `reason`."""

    type: ClassVar[str] = "TicketMailFailed"
    version: ClassVar[int] = 1

    message: str
    reason: str
