"""The view `users_directory`: people, organisations, memberships, open invitations. Names stay sealed; they are opened at the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts import Sealed
from remote_claude.contracts.users import (
    InvitationRevoked,
    MemberInvited,
    MemberJoined,
    MemberRemoved,
    MemberRoleChanged,
    OrgCreated,
    OrgDeleted,
    OrgErased,
    OrgRestored,
    OrgResumed,
    OrgSettingsChanged,
    OrgSuspended,
    ProfileChanged,
    Role,
    ServiceAccountCreated,
    ServiceAccountRemoved,
    UserErased,
    UserRegistered,
)
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import TableRow, reading
from remote_claude.eventsourcing.views import View
from remote_claude.users.projections.team_changes import TEAM_EVENTS, team_statements


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class Person(Tables, table=True):
    id: str = Field(primary_key=True)
    name_key: str
    name_box: str
    email_key: str | None
    email_box: str | None


class Organisation(Tables, table=True):
    __table_args__: ClassVar[dict[str, Any]] = {"info": {"org": "id"}}
    id: str = Field(primary_key=True)
    name_key: str
    name_box: str
    created_at: str
    personal: bool
    erased_at: str | None
    suspended: str | None


class Member(Tables, table=True):
    org: str = Field(primary_key=True)
    person: str = Field(primary_key=True, index=True)
    role: str
    joined_at: str


class Invitation(Tables, table=True):
    org: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    role: str
    email_key: str | None
    email_box: str | None
    invited_by: str
    expires_at: str


class ServiceAccount(Tables, table=True):
    __tablename__ = "service_account"
    org: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    name_key: str
    name_box: str
    created_by: str
    created_at: str


class TeamTable(Tables, table=True):
    __tablename__ = "team"
    org: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    name_key: str
    name_box: str
    labels_key: str | None
    labels_box: str | None
    created_at: str


class TeamMember(Tables, table=True):
    __tablename__ = "team_member"
    org: str = Field(primary_key=True)
    team: str = Field(primary_key=True)
    person: str = Field(primary_key=True)


class DirectoryView(View):
    """Folds the events about people and organisations."""

    name: ClassVar[str] = "users_directory"
    version: ClassVar[int] = 6
    tables = Tables.metadata
    handles = (
        frozenset(
            e.type
            for e in (
                UserRegistered,
                ProfileChanged,
                OrgCreated,
                OrgSettingsChanged,
                OrgDeleted,
                OrgRestored,
                OrgErased,
                OrgSuspended,
                OrgResumed,
                UserErased,
                ServiceAccountCreated,
                ServiceAccountRemoved,
                MemberInvited,
                InvitationRevoked,
                MemberJoined,
                MemberRoleChanged,
                MemberRemoved,
            )
        )
        | TEAM_EVENTS
    )

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        for recorded in events:
            for statement, parameters in _statements(recorded):
                await connection.execute(statement, parameters)


def _statements(recorded: RecordedEvent) -> list[tuple[str, tuple[Any, ...]]]:
    match recorded.event:
        case UserRegistered() as e:
            email = (e.email.key, e.email.box) if e.email else (None, None)
            return [
                (
                    "INSERT INTO person VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    (e.user, e.name.key, e.name.box, *email),
                )
            ]
        case ProfileChanged(user=user, name=name):
            return [
                ("UPDATE person SET name_key = %s, name_box = %s WHERE id = %s", (name.key, name.box, user))
            ]
        case OrgCreated() as e:
            return [
                (
                    "INSERT INTO organisation VALUES (%s, %s, %s, %s, %s, NULL, NULL) ON CONFLICT DO NOTHING",
                    (e.org, e.name.key, e.name.box, recorded.occurred_at, e.personal),
                )
            ]
        case OrgSettingsChanged(org=org, name=name):
            changed = "UPDATE organisation SET name_key = %s, name_box = %s WHERE id = %s"
            return [(changed, (name.key, name.box, org))] if name else []
        case OrgDeleted(org=org, erased_at=at):
            return [("UPDATE organisation SET erased_at = %s WHERE id = %s", (at, org))]
        case OrgRestored(org=org):
            return [("UPDATE organisation SET erased_at = NULL WHERE id = %s", (org,))]
        case OrgSuspended(org=org, reason=reason):
            return [("UPDATE organisation SET suspended = %s WHERE id = %s", (reason, org))]
        case OrgResumed(org=org):
            return [("UPDATE organisation SET suspended = NULL WHERE id = %s", (org,))]
        case OrgErased(org=org):
            tables = ("organisation", "member", "invitation", "service_account", "team", "team_member")
            return [
                (f"DELETE FROM {table} WHERE {'id' if table == 'organisation' else 'org'} = %s", (org,))  # noqa: S608 - names of our own
                for table in tables
            ]
        case UserErased(user=user):
            return [("DELETE FROM person WHERE id = %s", (user,))]
        case ServiceAccountCreated() as e:
            return [
                (
                    "INSERT INTO service_account VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    (e.org, e.service_account, e.name.key, e.name.box, e.by, recorded.occurred_at),
                )
            ]
        case ServiceAccountRemoved(org=org, service_account=account):
            return [("DELETE FROM service_account WHERE org = %s AND id = %s", (org, account))]
        case MemberInvited() as e:
            email = (e.email.key, e.email.box) if e.email else (None, None)
            return [
                (
                    "INSERT INTO invitation VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (org, id) DO UPDATE"
                    " SET invited_by = excluded.invited_by, expires_at = excluded.expires_at",
                    (e.org, e.invitation, e.role, *email, e.by, e.expires_at),
                )
            ]
        case InvitationRevoked(org=org, invitation=invitation):
            return [("DELETE FROM invitation WHERE org = %s AND id = %s", (org, invitation))]
        case MemberJoined(org=org, user=user, role=role, invitation=invitation):
            return [
                (
                    "INSERT INTO member VALUES (%s, %s, %s, %s) ON CONFLICT (org, person) DO UPDATE SET role = excluded.role",
                    (org, user, role, recorded.occurred_at),
                ),
                ("DELETE FROM invitation WHERE org = %s AND id = %s", (org, invitation)),
            ]
        case MemberRoleChanged(org=org, user=user, role=role):
            return [("UPDATE member SET role = %s WHERE org = %s AND person = %s", (role, org, user))]
        case MemberRemoved(org=org, user=user):
            return [
                ("DELETE FROM member WHERE org = %s AND person = %s", (org, user)),
                ("DELETE FROM team_member WHERE org = %s AND person = %s", (org, user)),
            ]
        case event:
            return team_statements(event, recorded.occurred_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgRow:
    """An organisation of a person, with their role in it."""

    id: str
    name: Sealed
    personal: bool
    role: Role
    created_at: str


async def person(pool: Pool, user: str) -> tuple[Sealed, Sealed | None] | None:
    """Name and e-mail of a person; None for one who is unknown here."""
    async with reading(pool, DirectoryView, org=None) as connection:
        found = await connection.execute("SELECT * FROM person WHERE id = %s", [user])
        row = await found.fetchone()
    return (Sealed(key=row["name_key"], box=row["name_box"]), sealed(row, "email")) if row else None


async def organisations(pool: Pool, user: str) -> list[OrgRow]:
    """The organisations of a person, in the order of joining."""
    async with reading(pool, DirectoryView, org=None) as connection:
        found = await connection.execute(
            "SELECT o.*, m.role FROM member m JOIN organisation o ON o.id = m.org"
            " WHERE m.person = %s AND o.erased_at IS NULL ORDER BY m.joined_at, o.id",
            [user],
        )
        return [
            OrgRow(
                id=row["id"],
                name=Sealed(key=row["name_key"], box=row["name_box"]),
                personal=row["personal"],
                role=row["role"],
                created_at=row["created_at"],
            )
            for row in await found.fetchall()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedOrg:
    """A deleted organisation of a person who may bring it back before it is erased."""

    id: str
    name: Sealed
    erased_at: str


async def deleted_organisations(pool: Pool, owner: str, now: str) -> list[DeletedOrg]:
    """What an owner may bring back, the next to be erased first."""
    async with reading(pool, DirectoryView, org=None) as connection:
        found = await connection.execute(
            "SELECT o.* FROM member m JOIN organisation o ON o.id = m.org"
            " WHERE m.person = %s AND m.role = 'owner' AND o.erased_at > %s ORDER BY o.erased_at, o.id",
            [owner, now],
        )
        return [
            DeletedOrg(
                id=row["id"],
                name=Sealed(key=row["name_key"], box=row["name_box"]),
                erased_at=row["erased_at"],
            )
            for row in await found.fetchall()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledOrgRow:
    """An organisation of the installation."""

    id: str
    name: Sealed
    personal: bool
    members: int
    created_at: str
    suspended: str | None
    erased_at: str | None


async def every_organisation(pool: Pool, *, after: str, limit: int) -> list[InstalledOrgRow]:
    """Organisations of the installation in the order of their ids, after one of them."""
    async with reading(pool, DirectoryView, org=None) as connection:
        found = await connection.execute(
            "SELECT o.*, (SELECT count(*) FROM member m WHERE m.org = o.id) AS members FROM organisation o"
            " WHERE o.id > %s ORDER BY o.id LIMIT %s",
            [after, limit],
        )
        return [
            InstalledOrgRow(
                id=row["id"],
                name=Sealed(key=row["name_key"], box=row["name_box"]),
                personal=row["personal"],
                members=row["members"],
                created_at=row["created_at"],
                suspended=row["suspended"],
                erased_at=row["erased_at"],
            )
            for row in await found.fetchall()
        ]


async def organisation_name(pool: Pool, org: str) -> Sealed | None:
    """The name of an organisation; None for one that the view does not know."""
    async with reading(pool, DirectoryView, org=org) as connection:
        found = await connection.execute("SELECT name_key, name_box FROM organisation WHERE id = %s", [org])
        row = await found.fetchone()
    return sealed(row, "name") if row else None


async def to_erase(pool: Pool, now: str) -> list[str]:
    """Deleted organisations whose time to come back is over."""
    async with reading(pool, DirectoryView, org=None) as connection:
        found = await connection.execute("SELECT id FROM organisation WHERE erased_at <= %s", [now])
        return [row["id"] for row in await found.fetchall()]


def sealed(row: dict[str, Any], column: str) -> Sealed | None:
    key, box = row[f"{column}_key"], row[f"{column}_box"]
    return Sealed(key=key, box=box) if key is not None else None
