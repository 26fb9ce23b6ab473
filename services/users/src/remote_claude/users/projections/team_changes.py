"""What the events about teams change in `users_directory`."""

from __future__ import annotations

from typing import Any

from remote_claude.contracts.users import (
    TeamCreated,
    TeamDeleted,
    TeamLabelsSet,
    TeamMemberAdded,
    TeamMemberRemoved,
)

TEAM_EVENTS = frozenset(
    e.type for e in (TeamCreated, TeamDeleted, TeamMemberAdded, TeamMemberRemoved, TeamLabelsSet)
)


def team_statements(event: Any, occurred_at: str) -> list[tuple[str, tuple[Any, ...]]]:
    """The statements of an event, each with its parameters; none for an event about something else."""
    match event:
        case TeamCreated() as e:
            return [
                (
                    "INSERT INTO team VALUES (%s, %s, %s, %s, NULL, NULL, %s) ON CONFLICT DO NOTHING",
                    (e.org, e.team, e.name.key, e.name.box, occurred_at),
                )
            ]
        case TeamDeleted(org=org, team=team):
            return [
                ("DELETE FROM team WHERE org = %s AND id = %s", (org, team)),
                ("DELETE FROM team_member WHERE org = %s AND team = %s", (org, team)),
            ]
        case TeamMemberAdded(org=org, team=team, user=user):
            return [("INSERT INTO team_member VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (org, team, user))]
        case TeamMemberRemoved(org=org, team=team, user=user):
            removed = "DELETE FROM team_member WHERE org = %s AND team = %s AND person = %s"
            return [(removed, (org, team, user))]
        case TeamLabelsSet(org=org, team=team, labels=labels):
            changed = "UPDATE team SET labels_key = %s, labels_box = %s WHERE org = %s AND id = %s"
            return [(changed, (labels.key, labels.box, org, team))]
    return []
