"""Events of the users service: people and organisations."""

from typing import ClassVar, Literal

from remote_claude.contracts.base import Event, Sealed

Role = Literal["owner", "admin", "member", "billing"]


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


class UserErased(UsersEvent):
    """The person's data key is deleted next: nothing that it sealed can be read again."""

    type: ClassVar[str] = "UserErased"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "user"
    in_organisation: ClassVar[bool] = False

    user: str


class OrgCreated(UsersEvent):
    """An organisation and its first owner. Its data key stands in `KEYS` before this is appended.

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


class MemberInvited(UsersEvent):
    """Whoever holds the invitation's secret joins in this role. `email` is sealed by the organisation's key."""

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
    """The invitation is good no more."""

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


class SecretStored(UsersEvent):
    """A secret of the organisation, such as its token for a forge: `secret_name` names it. A later one replaces it.

    It is used by the services, and never given to a sandbox.
    """

    type: ClassVar[str] = "SecretStored"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "secret"

    org: str
    secret_name: str
    value: Sealed
    by: str
