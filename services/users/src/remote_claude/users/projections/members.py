"""Who is in an organisation, or may come into it: members, invitations and service accounts, out of `users_directory`."""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.contracts import Sealed
from remote_claude.contracts.users import Role
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import reading
from remote_claude.users.projections.directory import DirectoryView, sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRow:
    """A member of an organisation. The name is None for a person whom the view does not know yet."""

    user: str
    name: Sealed | None
    email: Sealed | None
    role: Role
    joined_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationRow:
    """An invitation that is open. It may have expired."""

    id: str
    role: Role
    email: Sealed | None
    invited_by: str
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccountRow:
    """A service account that has not been removed."""

    id: str
    name: Sealed
    created_by: str
    created_at: str


async def members(pool: Pool, org: str) -> list[MemberRow]:
    """The members of an organisation, in the order of joining."""
    async with reading(pool, DirectoryView, org=org) as connection:
        found = await connection.execute(
            "SELECT m.person AS user, m.role, m.joined_at, p.* FROM member m LEFT JOIN person p ON p.id = m.person"
            " WHERE m.org = %s ORDER BY m.joined_at, m.person",
            [org],
        )
        return [
            MemberRow(
                user=row["user"],
                name=sealed(row, "name"),
                email=sealed(row, "email"),
                role=row["role"],
                joined_at=row["joined_at"],
            )
            for row in await found.fetchall()
        ]


async def invitations(pool: Pool, org: str) -> list[InvitationRow]:
    """The open invitations of an organisation."""
    async with reading(pool, DirectoryView, org=org) as connection:
        found = await connection.execute(
            "SELECT * FROM invitation WHERE org = %s ORDER BY expires_at, id", [org]
        )
        return [
            InvitationRow(
                id=row["id"],
                role=row["role"],
                email=sealed(row, "email"),
                invited_by=row["invited_by"],
                expires_at=row["expires_at"],
            )
            for row in await found.fetchall()
        ]


async def service_accounts(pool: Pool, org: str) -> list[ServiceAccountRow]:
    """The service accounts of an organisation, in the order in which they were made."""
    async with reading(pool, DirectoryView, org=org) as connection:
        found = await connection.execute(
            "SELECT * FROM service_account WHERE org = %s ORDER BY created_at, id", [org]
        )
        return [
            ServiceAccountRow(
                id=row["id"],
                name=Sealed(key=row["name_key"], box=row["name_box"]),
                created_by=row["created_by"],
                created_at=row["created_at"],
            )
            for row in await found.fetchall()
        ]
