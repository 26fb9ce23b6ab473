"""Queries on the teams in `users_directory`."""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.contracts import Sealed
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import reading
from remote_claude.users.projections.directory import DirectoryView


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamMemberRow:
    """A member of a team. The name is None for a person whom the view does not know yet."""

    user: str
    name: Sealed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamRow:
    """A team that has not been deleted. `labels` is a JSON object."""

    id: str
    name: Sealed
    labels: Sealed | None
    members: tuple[TeamMemberRow, ...]
    created_at: str


async def teams(pool: Pool, org: str) -> list[TeamRow]:
    """The teams of an organisation, in the order in which they were created."""
    async with reading(pool, DirectoryView, org=org) as connection:
        found = await connection.execute(
            "SELECT m.team, m.person AS user, p.name_key, p.name_box FROM team_member m"
            " LEFT JOIN person p ON p.id = m.person WHERE m.org = %s ORDER BY m.person",
            [org],
        )
        members: dict[str, list[TeamMemberRow]] = {}
        for row in await found.fetchall():
            name = Sealed(key=row["name_key"], box=row["name_box"]) if row["name_key"] else None
            members.setdefault(row["team"], []).append(TeamMemberRow(user=row["user"], name=name))
        found = await connection.execute("SELECT * FROM team WHERE org = %s ORDER BY created_at, id", [org])
        return [
            TeamRow(
                id=row["id"],
                name=Sealed(key=row["name_key"], box=row["name_box"]),
                labels=Sealed(key=row["labels_key"], box=row["labels_box"]) if row["labels_key"] else None,
                members=tuple(members.get(row["id"], ())),
                created_at=row["created_at"],
            )
            for row in await found.fetchall()
        ]
