"""An organisation and who is in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from remote_claude.access.refusals import OrgNotFound
from remote_claude.contracts import Sealed
from remote_claude.contracts.refusals import Refusal
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
    Role,
    TeamCreated,
    TeamDeleted,
    TeamLabelsSet,
    TeamMemberAdded,
    TeamMemberRemoved,
)
from remote_claude.users.domain import teams
from remote_claude.users.domain.commands import (
    AcceptInvitation,
    AddToTeam,
    ChangeRole,
    Command,
    CreateOrg,
    CreateTeam,
    DeleteOrg,
    DeleteTeam,
    EraseMember,
    EraseOrg,
    Invite,
    RemoveFromTeam,
    RemoveMember,
    RenameOrg,
    RestoreOrg,
    ResumeOrg,
    RevokeInvitation,
    SendInvitationAgain,
    SetTeamLabels,
    SuspendOrg,
    TransferOwnership,
)
from remote_claude.users.domain.teams import TeamEvent, TeamState

OrgEvent = (
    OrgCreated
    | OrgSettingsChanged
    | OrgDeleted
    | OrgRestored
    | OrgErased
    | OrgSuspended
    | OrgResumed
    | MemberInvited
    | InvitationRevoked
    | MemberJoined
    | MemberRoleChanged
    | MemberRemoved
    | TeamEvent
)


class MemberNotFound(Refusal):
    code = "member_not_found"
    status = 404

    def __init__(self, user: str) -> None:
        super().__init__(
            f"{user[:64]!r} is not a member of this organisation. `rclaude org member list` shows them."
        )


class InvitationNotFound(Refusal):
    """Unknown, used, revoked or expired: nobody can tell which."""

    code = "invitation_not_found"
    status = 404

    def __init__(self) -> None:
        super().__init__("There is no such invitation, or it is no longer valid. Ask for another one.")


class LastOwner(Refusal):
    code = "last_owner"
    status = 409

    def __init__(self) -> None:
        super().__init__("An organisation needs an owner. Make another member an owner first.")


class MemberLimitReached(Refusal):
    """The organisation has as many members as its plan allows, open invitations counted."""

    code = "member_limit_reached"
    status = 403

    def __init__(self, seats: int) -> None:
        members = "one member" if seats == 1 else f"{seats} members"
        super().__init__(
            f"The plan allows {members}, open invitations counted. Remove one, or choose a larger plan: "
            "`rclaude billing plans` lists them."
        )


class OwnsOrganisations(Refusal):
    """A person who is to be erased is the only owner of organisations."""

    code = "owns_organisations"
    status = 409

    def __init__(self, orgs: Sequence[str]) -> None:
        super().__init__(
            f"You are the only owner of {', '.join(orgs)}. Transfer each with `rclaude org transfer`, or delete it with "
            "`rclaude org delete`. Then delete your account.",
            orgs=list(orgs),
        )


class OwnersDecide(Refusal):
    code = "owners_decide"
    status = 403

    def __init__(self) -> None:
        super().__init__("Only an owner makes, changes or removes an owner. Ask one.")


class PersonalOrg(Refusal):
    code = "personal_organisation"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            "A personal organisation has one member and stays. Make another one: `rclaude org create NAME`."
        )


@dataclass(frozen=True, slots=True)
class Invitation:
    hash: str
    role: Role
    expires_at: str
    email: Sealed | None = None


@dataclass(frozen=True, slots=True)
class Organisation:
    """`members` are in the order of joining. `erased_at` is set while it is deleted and can come back."""

    created: bool = False
    personal: bool = False
    members: Mapping[str, Role] = field(default_factory=dict)
    invitations: Mapping[str, Invitation] = field(default_factory=dict)
    erased_at: str | None = None
    erased: bool = False
    suspended: str | None = None
    """Why the operator has suspended it."""
    teams: Mapping[str, TeamState] = field(default_factory=dict)

    def owned_alone_by(self, user: str) -> bool:
        """Whether the person is the only owner of an organisation that is not their own, and not deleted."""
        if self.personal or self.erased_at is not None or self.members.get(user) != "owner":
            return False
        return [*self.members.values()].count("owner") == 1

    def taken(self, now: str) -> int:
        """How many seats are: members, and invitations that are open."""
        return len(self.members) + sum(1 for i in self.invitations.values() if i.expires_at > now)


initial_state = Organisation()


def decide(command: Command, state: Organisation) -> list[OrgEvent]:
    """What is recorded. Raises the refusals of this module."""
    if isinstance(command, CreateOrg):
        return [] if state.created else _created(command)
    deleted = state.erased_at is not None and not isinstance(command, RestoreOrg | EraseOrg | EraseMember)
    if not state.created or deleted:
        raise OrgNotFound(command.org)
    match command:
        case RenameOrg():
            return [OrgSettingsChanged(org=command.org, by=command.by, name=command.name)]
        case Invite() | SendInvitationAgain() | RevokeInvitation() | AcceptInvitation():
            return _invitation(command, state)
        case TransferOwnership():
            return _transferred(command, state)
        case ChangeRole() | RemoveMember():
            return _member(command, state)
        case CreateTeam() | DeleteTeam() | AddToTeam() | RemoveFromTeam() | SetTeamLabels():
            if isinstance(command, AddToTeam) and command.user not in state.members:
                raise MemberNotFound(command.user)
            return [*teams.decide(command, state.teams)]
        case DeleteOrg():
            if state.personal:
                raise PersonalOrg
            return [OrgDeleted(org=command.org, by=command.by, erased_at=command.erased_at)]
        case RestoreOrg():
            over = state.erased or (state.erased_at is not None and state.erased_at <= command.now)
            if over or state.members.get(command.by) != "owner":
                raise OrgNotFound(command.org)
            if state.erased_at is None:
                return []
            return [OrgRestored(org=command.org, by=command.by)]
        case SuspendOrg():
            if state.suspended == command.reason:
                return []
            return [OrgSuspended(org=command.org, reason=command.reason)]
        case ResumeOrg():
            return [] if state.suspended is None else [OrgResumed(org=command.org)]
        case EraseMember():
            return _member_erased(command, state)
        case EraseOrg():
            due = state.erased_at is not None and state.erased_at <= command.now
            return [OrgErased(org=command.org)] if due and not state.erased else []
        case _:
            assert_never(command)


def _created(command: CreateOrg) -> list[OrgEvent]:
    created = OrgCreated(org=command.org, name=command.name, owner=command.owner, personal=command.personal)
    return [created, MemberJoined(org=command.org, user=command.owner, role="owner")]


def _invitation(
    command: Invite | SendInvitationAgain | RevokeInvitation | AcceptInvitation, state: Organisation
) -> list[OrgEvent]:
    match command:
        case Invite():
            if state.personal:
                raise PersonalOrg
            if command.role == "owner" and state.members.get(command.by) != "owner":
                raise OwnersDecide
            if command.seats is not None and state.taken(command.now) >= command.seats:
                raise MemberLimitReached(command.seats)
            invited = MemberInvited(
                org=command.org,
                invitation=command.invitation,
                email=command.email,
                role=command.role,
                hash=command.hash,
                by=command.by,
                expires_at=command.expires_at,
            )
            return [invited]
        case SendInvitationAgain():
            again = state.invitations.get(command.invitation)
            if again is None:
                raise InvitationNotFound
            if again.role == "owner" and state.members.get(command.by) != "owner":
                raise OwnersDecide
            sent = MemberInvited(
                org=command.org,
                invitation=command.invitation,
                email=again.email,
                role=again.role,
                hash=command.hash,
                by=command.by,
                expires_at=command.expires_at,
            )
            return [sent]
        case RevokeInvitation():
            if command.invitation not in state.invitations:
                raise InvitationNotFound
            return [InvitationRevoked(org=command.org, invitation=command.invitation, by=command.by)]
        case AcceptInvitation():
            found = state.invitations.get(command.invitation)
            if found is None or found.hash != command.hash or found.expires_at <= command.now:
                raise InvitationNotFound
            if command.user in state.members:
                return []
            if command.seats is not None and len(state.members) >= command.seats:
                raise MemberLimitReached(command.seats)
            joined = MemberJoined(
                org=command.org, user=command.user, role=found.role, invitation=command.invitation
            )
            return [joined]
        case _:
            assert_never(command)


def _member(command: ChangeRole | RemoveMember, state: Organisation) -> list[OrgEvent]:
    role = state.members.get(command.user)
    if role is None:
        raise MemberNotFound(command.user)
    leaves_ownership = role == "owner" and (isinstance(command, RemoveMember) or command.role != "owner")
    gains_ownership = isinstance(command, ChangeRole) and command.role == "owner"
    by_owner = state.members.get(command.by) == "owner"
    if (leaves_ownership or gains_ownership) and not by_owner:
        raise OwnersDecide
    if leaves_ownership and [*state.members.values()].count("owner") == 1:
        raise LastOwner
    if isinstance(command, RemoveMember):
        return [MemberRemoved(org=command.org, user=command.user, by=command.by)]
    if command.role == role:
        return []
    return [MemberRoleChanged(org=command.org, user=command.user, role=command.role, by=command.by)]


def _member_erased(command: EraseMember, state: Organisation) -> list[OrgEvent]:
    gone: list[OrgEvent] = []
    if command.user in state.members:
        gone.append(MemberRemoved(org=command.org, user=command.user, by=command.user))
    if state.personal and not state.erased:
        gone.append(OrgDeleted(org=command.org, by=command.user, erased_at=command.now))
        gone.append(OrgErased(org=command.org))
    return gone


def _transferred(command: TransferOwnership, state: Organisation) -> list[OrgEvent]:
    if state.members.get(command.by) != "owner":
        raise OwnersDecide
    if state.personal:
        raise PersonalOrg
    role = state.members.get(command.user)
    if role is None:
        raise MemberNotFound(command.user)
    if command.user == command.by:
        return []
    gained = MemberRoleChanged(org=command.org, user=command.user, role="owner", by=command.by)
    given_up = MemberRoleChanged(org=command.org, user=command.by, role="admin", by=command.by)
    return [given_up] if role == "owner" else [gained, given_up]


def evolve(state: Organisation, event: OrgEvent) -> Organisation:
    """The organisation after an event."""
    match event:
        case OrgCreated():
            return replace(state, created=True, personal=event.personal)
        case MemberJoined():
            invitations = {k: v for k, v in state.invitations.items() if k != event.invitation}
            return replace(state, members={**state.members, event.user: event.role}, invitations=invitations)
        case MemberRoleChanged():
            return replace(state, members={**state.members, event.user: event.role})
        case MemberRemoved():
            kept = {u: r for u, r in state.members.items() if u != event.user}
            return replace(state, members=kept, teams=teams.without(state.teams, (event.user,)))
        case TeamCreated() | TeamDeleted() | TeamMemberAdded() | TeamMemberRemoved() | TeamLabelsSet():
            return replace(state, teams=teams.evolve(state.teams, event))
        case MemberInvited():
            invitation = Invitation(event.hash, event.role, event.expires_at, event.email)
            return replace(state, invitations={**state.invitations, event.invitation: invitation})
        case InvitationRevoked():
            open_ = {k: v for k, v in state.invitations.items() if k != event.invitation}
            return replace(state, invitations=open_)
        case OrgDeleted():
            return replace(state, erased_at=event.erased_at)
        case OrgRestored():
            return replace(state, erased_at=None)
        case OrgErased():
            return replace(state, erased=True)
        case OrgSuspended():
            return replace(state, suspended=event.reason)
        case OrgResumed():
            return replace(state, suspended=None)
        case OrgSettingsChanged():
            return state
        case _:
            assert_never(event)


def fold(events: Sequence[OrgEvent]) -> Organisation:
    """The organisation after these events."""
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state
