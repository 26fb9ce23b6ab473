"""An API key is issued once and revoked at most once."""

from given import Decider
from remote_claude.access.scopes import ORG_SCOPES
from remote_claude.auth.domain.keys import IssueKey, KeyNotFound, NoteUse, RevokeKey, decide, fold
from remote_claude.contracts.auth import ApiKeyIssued, ApiKeyRevoked, ApiKeyUsed

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


def test_the_last_use_of_a_live_key_is_recorded_once_an_hour() -> None:
    first, soon, later = (f"2026-01-01T{time}.000000Z" for time in ("10:00:00", "10:59:59", "11:00:00"))

    def use(at: str) -> NoteUse:
        return NoteUse(key="key_1", org="org_1", at=at)

    used = ApiKeyUsed(key="key_1", org="org_1", used_at=first)
    KEY.given(ISSUED).when(use(first)).then(used)
    KEY.given(ISSUED, used).when(use(soon)).then()
    KEY.given(ISSUED, used).when(use(later)).then(ApiKeyUsed(key="key_1", org="org_1", used_at=later))
    KEY.given(ISSUED, used, REVOKED).when(use(later)).then()
    KEY.given().when(use(first)).then()
