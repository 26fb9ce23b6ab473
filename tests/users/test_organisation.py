"""What may happen to an organisation and to who is in it."""

from dataclasses import replace

from given import Decider
from remote_claude.access.refusals import OrgNotFound
from remote_claude.contracts import Sealed
from remote_claude.contracts.users import (
    MemberInvited,
    MemberJoined,
    MemberRemoved,
    MemberRoleChanged,
    OrgCreated,
    OrgDeleted,
    OrgErased,
    OrgRestored,
    OrgResumed,
    OrgSuspended,
    ServiceAccountCreated,
    ServiceAccountRemoved,
    TeamCreated,
    TeamDeleted,
    TeamLabelsSet,
    TeamMemberAdded,
)
from remote_claude.users.domain import service_accounts
from remote_claude.users.domain.commands import (
    AcceptInvitation,
    AddToTeam,
    ChangeRole,
    CreateOrg,
    CreateTeam,
    DeleteOrg,
    DeleteTeam,
    EraseOrg,
    Invite,
    RemoveMember,
    RestoreOrg,
    ResumeOrg,
    SendInvitationAgain,
    SetTeamLabels,
    SuspendOrg,
    TransferOwnership,
)
from remote_claude.users.domain.organisation import (
    InvitationNotFound,
    LastOwner,
    MemberLimitReached,
    MemberNotFound,
    OwnersDecide,
    PersonalOrg,
    decide,
    fold,
)
from remote_claude.users.domain.service_accounts import ServiceAccountNotFound
from remote_claude.users.domain.teams import LabelTaken, TeamNameTaken, TeamNotFound

ORG = Decider(fold, decide)
NAME = Sealed(key="org_1", box="x")
CREATE = CreateOrg(org="org_1", name=NAME, owner="user_1")
FOUNDED = (
    OrgCreated(org="org_1", name=NAME, owner="user_1"),
    MemberJoined(org="org_1", user="user_1", role="owner"),
)
BOB = MemberJoined(org="org_1", user="user_bob", role="member")
EARLY, NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z"
INVITE = Invite(
    org="org_1",
    by="user_1",
    invitation="invitation_1",
    email=NAME,
    role="admin",
    hash="first",
    expires_at=LATER,
    now=NOW,
)
INVITED = MemberInvited(
    org="org_1",
    invitation="invitation_1",
    email=NAME,
    role="admin",
    hash="first",
    by="user_1",
    expires_at=LATER,
)
ACCEPT = AcceptInvitation(org="org_1", invitation="invitation_1", hash="first", user="user_eve", now=NOW)
JOINED = MemberJoined(org="org_1", user="user_eve", role="admin", invitation="invitation_1")


def test_its_founder_is_its_owner() -> None:
    ORG.given().when(CREATE).then(*FOUNDED)
    assert fold(FOUNDED).members == {"user_1": "owner"}


def test_it_is_founded_once() -> None:
    ORG.given(*FOUNDED).when(CREATE).then()


def test_an_invitation_is_good_once_and_until_it_expires() -> None:
    ORG.given(*FOUNDED).when(INVITE).then(INVITED)
    ORG.given(*FOUNDED, INVITED).when(ACCEPT).then(JOINED)
    again = replace(ACCEPT, user="user_bob")
    ORG.given(*FOUNDED, INVITED, JOINED).when(again).then_refused(InvitationNotFound)
    ORG.given(*FOUNDED, INVITED).when(replace(ACCEPT, now=LATER)).then_refused(InvitationNotFound)


def test_an_invitation_that_is_sent_again_has_another_secret() -> None:
    send = SendInvitationAgain(
        org="org_1", by="user_1", invitation="invitation_1", hash="second", expires_at=LATER
    )
    sent = INVITED.model_copy(update={"hash": "second"})
    ORG.given(*FOUNDED, INVITED).when(send).then(sent)
    ORG.given(*FOUNDED).when(send).then_refused(InvitationNotFound)
    ORG.given(*FOUNDED, INVITED, sent).when(ACCEPT).then_refused(InvitationNotFound)
    ORG.given(*FOUNDED, INVITED, sent).when(replace(ACCEPT, hash="second")).then(JOINED)


def test_the_plan_limits_members_and_open_invitations_together() -> None:
    ORG.given(*FOUNDED).when(replace(INVITE, seats=1)).then_refused(MemberLimitReached)
    ORG.given(*FOUNDED).when(replace(INVITE, seats=2)).then(INVITED)
    another = replace(INVITE, invitation="invitation_2", seats=2)
    ORG.given(*FOUNDED, INVITED).when(another).then_refused(MemberLimitReached)
    ORG.given(*FOUNDED, INVITED, BOB).when(replace(ACCEPT, seats=2)).then_refused(MemberLimitReached)
    expired = INVITED.model_copy(update={"expires_at": EARLY})
    accepted = INVITED.model_copy(update={"invitation": "invitation_2"})
    ORG.given(*FOUNDED, expired).when(another).then(accepted)


def test_only_an_owner_makes_changes_and_removes_owners() -> None:
    mallory = MemberJoined(org="org_1", user="user_adm", role="admin")
    for command in (
        replace(INVITE, by="user_adm", role="owner"),
        ChangeRole(org="org_1", by="user_adm", user="user_adm", role="owner"),
        RemoveMember(org="org_1", by="user_adm", user="user_1"),
        TransferOwnership(org="org_1", by="user_adm", user="user_adm"),
    ):
        ORG.given(*FOUNDED, mallory).when(command).then_refused(OwnersDecide)


def test_the_last_owner_stays_until_the_ownership_is_transferred() -> None:
    leave = RemoveMember(org="org_1", by="user_1", user="user_1")
    ORG.given(*FOUNDED, BOB).when(leave).then_refused(LastOwner)
    transfer = TransferOwnership(org="org_1", by="user_1", user="user_bob")
    transferred = (
        MemberRoleChanged(org="org_1", user="user_bob", role="owner", by="user_1"),
        MemberRoleChanged(org="org_1", user="user_1", role="admin", by="user_1"),
    )
    ORG.given(*FOUNDED, BOB).when(transfer).then(*transferred)
    left = MemberRemoved(org="org_1", user="user_1", by="user_1")
    ORG.given(*FOUNDED, BOB, *transferred).when(leave).then(left)
    ORG.given(*FOUNDED).when(transfer).then_refused(MemberNotFound)


def test_a_deleted_organisation_comes_back_until_its_time_is_over() -> None:
    deleted = OrgDeleted(org="org_1", by="user_1", erased_at=LATER)
    ORG.given(*FOUNDED).when(DeleteOrg(org="org_1", by="user_1", erased_at=LATER)).then(deleted)
    ORG.given(*FOUNDED, deleted).when(INVITE).then_refused(OrgNotFound)
    restore = RestoreOrg(org="org_1", by="user_1", now=NOW)
    ORG.given(*FOUNDED, deleted).when(restore).then(OrgRestored(org="org_1", by="user_1"))
    ORG.given(*FOUNDED, deleted, BOB).when(replace(restore, by="user_bob")).then_refused(OrgNotFound)
    ORG.given(*FOUNDED).when(replace(restore, by="user_bob")).then_refused(OrgNotFound)
    ORG.given(*FOUNDED, deleted).when(replace(restore, now=LATER)).then_refused(OrgNotFound)
    erase = EraseOrg(org="org_1", now=LATER)
    ORG.given(*FOUNDED, deleted).when(replace(erase, now=NOW)).then()
    ORG.given(*FOUNDED, deleted).when(erase).then(OrgErased(org="org_1"))
    ORG.given(*FOUNDED, deleted, OrgErased(org="org_1")).when(erase).then()
    ORG.given(*FOUNDED, deleted, OrgRestored(org="org_1", by="user_1")).when(erase).then()


def test_the_operator_suspends_an_organisation_once_and_it_resumes() -> None:
    suspend = SuspendOrg(org="org_1", reason="unpaid")
    suspended = OrgSuspended(org="org_1", reason="unpaid")
    ORG.given(*FOUNDED).when(suspend).then(suspended)
    ORG.given(*FOUNDED, suspended).when(suspend).then()
    ORG.given(*FOUNDED, suspended).when(ResumeOrg(org="org_1")).then(OrgResumed(org="org_1"))
    ORG.given(*FOUNDED).when(ResumeOrg(org="org_1")).then()


def test_a_personal_organisation_stays_and_has_one_member() -> None:
    personal = (OrgCreated(org="org_1", name=NAME, owner="user_1", personal=True), FOUNDED[1])
    for command in (INVITE, DeleteOrg(org="org_1", by="user_1", erased_at=LATER)):
        ORG.given(*personal).when(command).then_refused(PersonalOrg)


def test_a_service_account_is_made_and_removed_once() -> None:
    account = Decider(service_accounts.fold, service_accounts.decide)
    created = ServiceAccountCreated(org="org_1", service_account="sa_1", name=NAME, by="user_1")
    removed = ServiceAccountRemoved(org="org_1", service_account="sa_1", by="user_1")
    account.given().when(created).then(created)
    account.given(created).when(created).then()
    account.given(created).when(removed).then(removed)
    account.given(created, removed).when(removed).then_refused(ServiceAccountNotFound)
    account.given().when(removed).then_refused(ServiceAccountNotFound)


TEAM = TeamCreated(org="org_1", team="team_core", name=NAME, name_hash="core", by="user_1")
IN_CORE = TeamMemberAdded(org="org_1", team="team_core", user="user_bob", by="user_1")
LABELS = TeamLabelsSet(org="org_1", team="team_core", labels=NAME, label_hashes=("a",), by="user_1")


def team_command(kind: type, team: str, **more: object) -> object:
    return kind(org="org_1", by="user_1", team=team, **more)


def test_a_team_has_members_of_the_organisation_only() -> None:
    create = team_command(CreateTeam, "team_core", name=NAME, name_hash="core")
    ORG.given(*FOUNDED).when(create).then(TEAM)
    again = team_command(CreateTeam, "team_other", name=NAME, name_hash="core")
    ORG.given(*FOUNDED, TEAM).when(again).then_refused(TeamNameTaken)
    add = team_command(AddToTeam, "team_core", user="user_bob")
    ORG.given(*FOUNDED, TEAM).when(add).then_refused(MemberNotFound)
    ORG.given(*FOUNDED, BOB, TEAM).when(add).then(IN_CORE)
    ORG.given(*FOUNDED, BOB, TEAM, IN_CORE).when(add).then()
    left = MemberRemoved(org="org_1", user="user_bob", by="user_bob")
    ORG.given(*FOUNDED, BOB, TEAM, IN_CORE, left, BOB).when(add).then(IN_CORE)
    deleted = TeamDeleted(org="org_1", team="team_core", by="user_1")
    ORG.given(*FOUNDED, BOB, TEAM).when(team_command(DeleteTeam, "team_core")).then(deleted)
    ORG.given(*FOUNDED, BOB, TEAM, deleted).when(add).then_refused(TeamNotFound)


def test_a_label_belongs_to_one_team_until_it_gives_it_up() -> None:
    docs = TeamCreated(org="org_1", team="team_docs", name=NAME, name_hash="docs", by="user_1")
    take = team_command(SetTeamLabels, "team_docs", labels=NAME, label_hashes=("a", "b"))
    taken = TeamLabelsSet(org="org_1", team="team_docs", labels=NAME, label_hashes=("a", "b"), by="user_1")
    ORG.given(*FOUNDED, TEAM, docs, LABELS).when(take).then_refused(LabelTaken)
    given_up = TeamLabelsSet(org="org_1", team="team_core", labels=NAME, label_hashes=(), by="user_1")
    ORG.given(*FOUNDED, TEAM, docs, LABELS, given_up).when(take).then(taken)
