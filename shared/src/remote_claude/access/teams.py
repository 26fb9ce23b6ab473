"""The teams of organisations, and which tasks their members see: folded where requests are checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from remote_claude.access.keyring import DataKey
from remote_claude.contracts import Sealed, canonical_json
from remote_claude.contracts.users import (
    MemberRemoved,
    OrgPolicySet,
    TaskVisibility,
    TeamCreated,
    TeamDeleted,
    TeamLabelsSet,
    TeamMemberAdded,
    TeamMemberRemoved,
)
from remote_claude.eventsourcing.events import RecordedEvent

TEAM = "team_"
"""How the id of a team begins."""


def label_hash(key: DataKey, name: str, value: str) -> str:
    """The keyed hash of a label with its value."""
    return key.fingerprint(canonical_json(("label", name, value)))


@dataclass(slots=True)
class Team:
    """`labels` is a JSON object, sealed; `label_hashes` are of its names with their values."""

    members: set[str] = field(default_factory=set)
    labels: Sealed | None = None
    label_hashes: frozenset[str] = frozenset()


class Teams:
    """Who is in which team, and how far members of an organisation see."""

    handles: ClassVar[frozenset[str]] = frozenset(
        e.type
        for e in (
            TeamCreated,
            TeamDeleted,
            TeamMemberAdded,
            TeamMemberRemoved,
            TeamLabelsSet,
            MemberRemoved,
            OrgPolicySet,
        )
    )

    def __init__(self) -> None:
        self._by_org: dict[str, dict[str, Team]] = {}
        self._visibility: dict[str, TaskVisibility] = {}

    def fold(self, recorded: RecordedEvent) -> None:
        """Apply one event."""
        match recorded.event:
            case TeamCreated(org=org, team=team):
                self._by_org.setdefault(org, {})[team] = Team()
            case TeamDeleted(org=org, team=team):
                self._by_org.get(org, {}).pop(team, None)
            case TeamMemberAdded(org=org, team=team, user=user):
                if (found := self.get(org, team)) is not None:
                    found.members.add(user)
            case TeamMemberRemoved(org=org, team=team, user=user):
                if (found := self.get(org, team)) is not None:
                    found.members.discard(user)
            case TeamLabelsSet() as e:
                if (found := self.get(e.org, e.team)) is not None:
                    found.labels, found.label_hashes = e.labels, frozenset(e.label_hashes)
            case MemberRemoved(org=org, user=user):
                for found in self._by_org.get(org, {}).values():
                    found.members.discard(user)
            case OrgPolicySet(org=org, task_visibility=visibility):
                self._visibility[org] = visibility

    def discard(self, recorded: RecordedEvent) -> None:
        """Where an event can't be read, members see their own tasks only."""
        org = recorded.organisation or recorded.aggregate_id
        self._by_org.pop(org, None)
        self._visibility[org] = "own"

    def get(self, org: str, team: str) -> Team | None:
        """A team of the organisation; None where it has none such."""
        return self._by_org.get(org, {}).get(team)

    def of(self, org: str, user: str) -> tuple[str, ...]:
        """The teams of a member; for a team, which acts by its own API key, itself. The oldest team first."""
        return tuple(
            team for team, found in self._by_org.get(org, {}).items() if user in (team, *found.members)
        )

    def owner_of_label(self, org: str, hash_: str) -> str | None:
        """The team whose label it is."""
        for team, found in self._by_org.get(org, {}).items():
            if hash_ in found.label_hashes:
                return team
        return None

    def has_labels(self, org: str) -> bool:
        """Whether any label of the organisation is a team's."""
        return any(found.label_hashes for found in self._by_org.get(org, {}).values())

    def visibility(self, org: str) -> TaskVisibility:
        """Which tasks the members of an organisation see."""
        return self._visibility.get(org, "organisation")
