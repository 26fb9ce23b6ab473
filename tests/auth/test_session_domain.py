"""A session is opened once, refreshed in turn, and ends when a refresh token is used twice."""

from collections.abc import Sequence
from functools import reduce

from given import Decider
from remote_claude.auth.domain.sessions import (
    OpenSession,
    RefreshSession,
    RevokeSession,
    SessionEnded,
    SessionEvent,
    SessionNotFound,
    SignInUsed,
    State,
    decide,
    evolve,
    initial_state,
)
from remote_claude.contracts.auth import SessionOpened, SessionRefreshed, SessionRevoked


def fold(events: Sequence[SessionEvent]) -> State:
    return reduce(evolve, events, initial_state)


SESSION = Decider(fold, decide)
SOON, LATER = "2026-12-01T00:00:00.000000Z", "2027-01-01T00:00:00.000000Z"
OPEN = OpenSession(
    session="session_1",
    user="user_1",
    kind="cli",
    method="code",
    hash="first",
    scopes=("tasks",),
    expires_at=SOON,
)
OPENED = SessionOpened(
    session="session_1",
    user="user_1",
    kind="cli",
    method="code",
    hash="first",
    scopes=("tasks",),
    expires_at=SOON,
)
REFRESHED = SessionRefreshed(session="session_1", user="user_1", hash="second", expires_at=LATER)


def refresh(presented: str, now: str = "2026-11-22T00:00:00.000000Z") -> RefreshSession:
    return RefreshSession(session="session_1", presented=presented, hash="second", now=now, expires_at=LATER)


def revoked(reason: str) -> SessionRevoked:
    return SessionRevoked(session="session_1", user="user_1", reason=reason)


def revoke(user: str = "user_1") -> RevokeSession:
    return RevokeSession(session="session_1", user=user, reason="signed_out")


def test_a_sign_in_opens_a_session() -> None:
    SESSION.given().when(OPEN).then(OPENED)


def test_a_link_or_code_opens_one_session_once() -> None:
    SESSION.given(OPENED).when(OPEN).then_refused(SignInUsed)
    SESSION.given(OPENED, revoked("signed_out")).when(OPEN).then_refused(SignInUsed)


def test_a_refresh_token_gives_the_next_one() -> None:
    SESSION.given(OPENED).when(refresh("first")).then(REFRESHED)
    SESSION.given(OPENED, REFRESHED).when(refresh("second")).then(REFRESHED)


def test_a_refresh_token_that_is_used_again_ends_the_session() -> None:
    SESSION.given(OPENED, REFRESHED).when(refresh("first")).then(revoked("token_reused"))
    SESSION.given(OPENED, REFRESHED, revoked("token_reused")).when(refresh("second")).then_refused(
        SessionEnded
    )


def test_a_token_that_was_never_given_ends_nothing() -> None:
    SESSION.given(OPENED).when(refresh("guessed")).then_refused(SessionEnded)


def test_a_refresh_token_expires() -> None:
    SESSION.given(OPENED).when(refresh("first", now=SOON)).then_refused(SessionEnded)


def test_a_session_is_revoked_once_and_by_its_person_only() -> None:
    SESSION.given(OPENED).when(revoke()).then(revoked("signed_out"))
    SESSION.given(OPENED, revoked("signed_out")).when(revoke()).then()
    SESSION.given(OPENED).when(revoke("user_2")).then_refused(SessionNotFound)
    SESSION.given().when(revoke()).then_refused(SessionNotFound)
