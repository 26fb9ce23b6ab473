"""An organisation is founded once, and its founder owns it."""

from given import Decider
from remote_claude.contracts import Sealed
from remote_claude.contracts.users import MemberJoined, OrgCreated
from remote_claude.users.domain.organisation import CreateOrg, decide, fold

ORG = Decider(fold, decide)
NAME = Sealed(key="org_1", box="x")
CREATE = CreateOrg(org="org_1", name=NAME, owner="user_1")
FOUNDED = (
    OrgCreated(org="org_1", name=NAME, owner="user_1"),
    MemberJoined(org="org_1", user="user_1", role="owner"),
)


def test_its_founder_is_its_owner() -> None:
    ORG.given().when(CREATE).then(*FOUNDED)
    assert fold(FOUNDED).members == {"user_1": "owner"}


def test_it_is_founded_once() -> None:
    ORG.given(*FOUNDED).when(CREATE).then()
