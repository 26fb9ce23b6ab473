"""The teams of an organisation: named groups of its members."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import (
    TeamCreated,
    TeamDeleted,
    TeamLabelsSet,
    TeamMemberAdded,
    TeamMemberRemoved,
)
from remote_claude.users.domain.commands import (
    AddToTeam,
    CreateTeam,
    DeleteTeam,
    RemoveFromTeam,
    SetTeamLabels,
    TeamCommand,
)

TeamEvent = TeamCreated | TeamDeleted | TeamMemberAdded | TeamMemberRemoved | TeamLabelsSet
MAX_TEAMS = 200
"""Of an organisation: they are folded with it."""


class TeamNotFound(Refusal):
    code = "team_not_found"
    status = 404

    def __init__(self, team: str) -> None:
        super().__init__(
            f"There is no team {team[:64]!r} in this organisation. `rclaude org team list` shows them."
        )


class TooManyTeams(Refusal):
    code = "too_many_teams"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            f"An organisation has at most {MAX_TEAMS} teams. Delete one first: `rclaude org team delete`."
        )


class TeamNameTaken(Refusal):
    code = "team_name_taken"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "Another team has this name. `rclaude org team list` shows the teams: choose another name."
        )


class LabelTaken(Refusal):
    """A label belongs to one team at most."""

    code = "label_taken"
    status = 409

    def __init__(self) -> None:
        super().__init__("A label belongs to another team. `rclaude org team list` shows the labels of each.")


@dataclass(frozen=True, slots=True)
class TeamState:
    """`members` are persons; `name_hash` and `label_hashes` are keyed hashes of its name and its labels."""

    name_hash: str = ""
    members: frozenset[str] = frozenset()
    label_hashes: frozenset[str] = frozenset()


Teams = Mapping[str, TeamState]
"""By id."""


def decide(command: TeamCommand, teams: Teams) -> list[TeamEvent]:
    """What is recorded; the person of a command is a member of the organisation.

    Raises `TeamNotFound`, `TooManyTeams`, `TeamNameTaken`, `LabelTaken`.
    """
    org, team, by = command.org, command.team, command.by
    if isinstance(command, CreateTeam):
        if team in teams:
            return []
        if any(other.name_hash == command.name_hash for other in teams.values()):
            raise TeamNameTaken
        if len(teams) >= MAX_TEAMS:
            raise TooManyTeams
        return [TeamCreated(org=org, team=team, name=command.name, name_hash=command.name_hash, by=by)]
    found = teams.get(team)
    if found is None:
        raise TeamNotFound(team)
    match command:
        case DeleteTeam():
            return [TeamDeleted(org=org, team=team, by=by)]
        case AddToTeam(user=user):
            return [] if user in found.members else [TeamMemberAdded(org=org, team=team, user=user, by=by)]
        case RemoveFromTeam(user=user):
            return [TeamMemberRemoved(org=org, team=team, user=user, by=by)] if user in found.members else []
        case SetTeamLabels(label_hashes=hashes):
            if any(
                not other.label_hashes.isdisjoint(hashes) for name, other in teams.items() if name != team
            ):
                raise LabelTaken
            return [TeamLabelsSet(org=org, team=team, labels=command.labels, label_hashes=hashes, by=by)]
        case _:
            assert_never(command)


def evolve(teams: Teams, event: TeamEvent) -> Teams:
    """The teams after an event."""
    if isinstance(event, TeamDeleted):
        return {team: found for team, found in teams.items() if team != event.team}
    found = teams.get(event.team, TeamState())
    match event:
        case TeamCreated(name_hash=hash):
            found = replace(found, name_hash=hash)
        case TeamMemberAdded(user=user):
            found = replace(found, members=found.members | {user})
        case TeamMemberRemoved(user=user):
            found = replace(found, members=found.members - {user})
        case TeamLabelsSet(label_hashes=hashes):
            found = replace(found, label_hashes=frozenset(hashes))
        case _:
            assert_never(event)
    return {**teams, event.team: found}


def without(teams: Teams, users: Collection[str]) -> Teams:
    """The teams once persons have left the organisation."""
    return {team: replace(found, members=found.members - set(users)) for team, found in teams.items()}
