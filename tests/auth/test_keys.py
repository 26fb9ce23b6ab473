"""An API key is issued once and revoked at most once."""

from given import Decider
from remote_claude.access.scopes import ORG_SCOPES
from remote_claude.auth.domain.keys import IssueKey, KeyNotFound, RevokeKey, decide, fold
from remote_claude.contracts.auth import ApiKeyIssued, ApiKeyRevoked

KEY = Decider(fold, decide)
ISSUE = IssueKey(key="key_1", org="org_1", user="user_1", prefix="rck_abc", hash="h")
ISSUED = ApiKeyIssued(key="key_1", org="org_1", user="user_1", prefix="rck_abc", hash="h", scopes=ORG_SCOPES)
REVOKE = RevokeKey(key="key_1", org="org_1", reason="lost")
REVOKED = ApiKeyRevoked(key="key_1", org="org_1", reason="lost")


def test_a_new_key_is_issued() -> None:
    KEY.given().when(ISSUE).then(ISSUED)


def test_a_key_is_issued_once() -> None:
    KEY.given(ISSUED).when(ISSUE).then()
    KEY.given(ISSUED, REVOKED).when(ISSUE).then()


def test_a_live_key_is_revoked() -> None:
    KEY.given(ISSUED).when(REVOKE).then(REVOKED)


def test_a_revoked_key_stays_revoked() -> None:
    KEY.given(ISSUED, REVOKED).when(REVOKE).then()


def test_a_key_that_never_was_cannot_be_revoked() -> None:
    KEY.given().when(REVOKE).then_refused(KeyNotFound)
