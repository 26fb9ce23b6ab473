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


class OrgCreated(UsersEvent):
    """An organisation and its first owner. Its data key stands in `KEYS` before this is appended."""

    type: ClassVar[str] = "OrgCreated"
    version: ClassVar[int] = 1

    org: str
    name: Sealed
    owner: str


class MemberJoined(UsersEvent):
    type: ClassVar[str] = "MemberJoined"
    version: ClassVar[int] = 1

    org: str
    user: str
    role: Role
