"""Commands on an organisation."""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.contracts import Sealed
from remote_claude.contracts.users import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOrg:
    """`owner` is its first member."""

    org: str
    name: Sealed
    owner: str
    personal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameOrg:
    org: str
    by: str
    name: Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """`hash` is that of the secret in the link. `seats` is how many members the plan allows; None: any number."""

    org: str
    by: str
    invitation: str
    email: Sealed | None
    role: Role
    hash: str
    expires_at: str
    now: str
    seats: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SendInvitationAgain:
    """Replace the secret: the link that was sent before stops working."""

    org: str
    by: str
    invitation: str
    hash: str
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeInvitation:
    org: str
    by: str
    invitation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptInvitation:
    org: str
    invitation: str
    hash: str
    user: str
    now: str
    seats: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRole:
    org: str
    by: str
    user: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMember:
    org: str
    by: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferOwnership:
    """`user` becomes an owner, and `by` an admin."""

    org: str
    by: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOrg:
    org: str
    by: str
    erased_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOrg:
    org: str
    by: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseOrg:
    """Its time to come back is over."""

    org: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseMember:
    """The person is erased. Their personal organisation goes with them."""

    org: str
    user: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendOrg:
    """The operator admits no task of the organisation until it resumes."""

    org: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeOrg:
    """The operator ends a suspension."""

    org: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTeam:
    org: str
    by: str
    team: str
    name: Sealed
    name_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTeam:
    org: str
    by: str
    team: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddToTeam:
    org: str
    by: str
    team: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFromTeam:
    org: str
    by: str
    team: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTeamLabels:
    """`labels` is a JSON object, sealed; `label_hashes` are keyed hashes of its names with their values."""

    org: str
    by: str
    team: str
    labels: Sealed
    label_hashes: tuple[str, ...]


TeamCommand = CreateTeam | DeleteTeam | AddToTeam | RemoveFromTeam | SetTeamLabels
Command = (
    TeamCommand
    | CreateOrg
    | RenameOrg
    | Invite
    | SendInvitationAgain
    | RevokeInvitation
    | AcceptInvitation
    | ChangeRole
    | RemoveMember
    | TransferOwnership
    | DeleteOrg
    | RestoreOrg
    | EraseOrg
    | EraseMember
    | SuspendOrg
    | ResumeOrg
)
