"""When a schedule is due: given-when-then on its events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.gateway import ScheduleCreated, ScheduleDue, ScheduleRefused, ScheduleRemoved
from remote_claude.gateway.domain import schedules
from remote_claude.gateway.domain.refusals import ScheduleInvalid, ScheduleNotFound
from remote_claude.gateway.domain.schedules import RefuseDue, RemoveSchedule, StartDue
from remote_claude.gateway.domain.triggers import Ignored, TaskStart, TriggerRules, from_forge, is_signed

ID = {"schedule": "schedule_1", "org": "org_1"}


def created(
    cron: str = "0 7 * * *", zone: str = "Europe/Berlin", since: str = "2026-03-01T00:00:00Z"
) -> Event:
    request = Sealed(key="org_1", box="x")
    return ScheduleCreated(**ID, user="user_1", cron=cron, zone=zone, since=since, request=request)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def when(command: schedules.Command, *given: Event) -> list[Event]:
    state = schedules.initial_state
    for event in given:
        state = schedules.evolve(state, event)
    return schedules.decide(command, state)


def due(now: str, *given: Event) -> list[Event]:
    return when(StartDue(**ID, now=at(now)), *given)


def test_a_run_is_due_at_its_time_in_its_zone_and_not_before() -> None:
    assert due("2026-03-01T05:59:59Z", created()) == []
    assert due("2026-03-01T06:00:00Z", created()) == [ScheduleDue(**ID, due="2026-03-01T06:00:00.000000Z")]


def test_summer_time_moves_the_run_in_utc() -> None:
    given = (created(), ScheduleDue(**ID, due="2026-03-28T06:00:00.000000Z"))
    assert due("2026-03-29T12:00:00Z", *given) == [ScheduleDue(**ID, due="2026-03-29T05:00:00.000000Z")]


def test_a_time_that_summer_time_skips_still_runs_that_day() -> None:
    given = created(cron="30 2 29 3 *", since="2026-03-29T00:00:00Z")
    assert len(due("2026-03-29T12:00:00Z", given)) == 1


def test_of_missed_runs_the_latest_starts_and_the_others_are_counted() -> None:
    assert due("2026-03-04T09:00:00Z", created()) == [
        ScheduleDue(**ID, due="2026-03-04T06:00:00.000000Z", missed=3)
    ]


def test_a_run_starts_once() -> None:
    given = (created(), ScheduleDue(**ID, due="2026-03-01T06:00:00.000000Z"))
    assert due("2026-03-01T06:00:30Z", *given) == []


def test_a_removed_schedule_starts_nothing() -> None:
    assert due("2026-03-04T09:00:00Z", created(), ScheduleRemoved(**ID, user="user_1")) == []


def test_a_refusal_is_recorded_once() -> None:
    refuse = RefuseDue(**ID, due="2026-03-01T06:00:00.000000Z", reason="members_only")
    [refused] = when(refuse, created())
    assert isinstance(refused, ScheduleRefused)
    assert when(refuse, created(), refused) == []


def test_what_is_not_there_is_not_removed() -> None:
    with pytest.raises(ScheduleNotFound):
        when(RemoveSchedule(**ID, user="user_1"))


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("* * * *", "UTC"),
        ("61 * * * *", "UTC"),
        ("0 0 30 2 *", "UTC"),
        ("* * * * *", "Mars/Olympus"),
        ("* * * * *", "../x"),
    ],
)
def test_what_is_never_due_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(ScheduleInvalid):
        schedules.check(cron, zone)


RULES = TriggerRules(allow=("Ada",), repositories=("ada/calc",), label="rclaude")


def comment(body: str = "/rclaude fix this", **changed: Any) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "action": "created",
        "comment": {"id": 5, "body": body, "user": {"login": "ada"}},
        "issue": {"id": 3, "number": 7, "title": "Wrong sum", "body": "1+1=0", "updated_at": "2026-03-01"},
        "repository": {"full_name": "ada/calc", "clone_url": "https://forge.example/ada/calc.git"},
        "sender": {"login": "ada"},
    }
    return payload | changed


def on_github(kind: str, payload: dict[str, Any]) -> TaskStart | Ignored:
    return from_forge("github", {"x-github-event": kind}, payload, RULES)


def test_a_comment_starts_a_task_about_its_issue() -> None:
    start = on_github("issue_comment", comment())
    assert isinstance(start, TaskStart)
    assert start.prompt == "fix this\n\nThe issue ada/calc#7:\n\nWrong sum\n\n1+1=0"
    assert (start.key, start.url) == ("comment-5", "https://forge.example/ada/calc.git")


def test_a_label_starts_a_task() -> None:
    start = on_github("issues", comment(action="labeled", label={"name": "rclaude"}))
    assert isinstance(start, TaskStart)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("issue_comment", comment("please /rclaude")),
        ("issue_comment", comment("/rclaudefix")),
        ("issue_comment", comment(action="edited")),
        ("issue_comment", comment(comment={"id": 5, "body": "/rclaude", "user": {"login": "eve"}})),
        ("issue_comment", comment(repository={"full_name": "eve/calc", "clone_url": "https://x/y"})),
        ("issues", comment(action="labeled", label={"name": "bug"})),
        ("issues", comment(action="labeled", label={"name": "rclaude"}, sender={"login": "eve"})),
        ("push", comment()),
    ],
)
def test_nothing_else_starts_one(kind: str, payload: dict[str, Any]) -> None:
    assert isinstance(on_github(kind, payload), Ignored)


def on_gitlab(payload: dict[str, Any]) -> TaskStart | Ignored:
    rules = TriggerRules(allow=("ada",), repositories=("team/core/calc",), label="rclaude")
    project = {
        "path_with_namespace": "team/core/calc",
        "git_http_url": "https://lab.example/team/core/calc.git",
    }
    return from_forge("gitlab", {}, {"project": project, "user": {"username": "ada"}, **payload}, rules)


ISSUE = {"id": 3, "iid": 7, "title": "Wrong sum", "description": "1+1=0", "updated_at": "2026-03-01"}
NOTE = {"id": 5, "note": "/rclaude fix this", "noteable_type": "Issue", "action": "create"}


def test_a_comment_on_gitlab_starts_a_task_about_its_issue() -> None:
    start = on_gitlab({"object_kind": "note", "object_attributes": NOTE, "issue": ISSUE})
    assert isinstance(start, TaskStart)
    assert start.prompt == "fix this\n\nThe issue team/core/calc#7:\n\nWrong sum\n\n1+1=0"
    assert (start.key, start.url) == ("comment-5", "https://lab.example/team/core/calc.git")


def test_only_a_label_that_is_added_on_gitlab_starts_a_task() -> None:
    one, other = {"title": "rclaude"}, {"title": "bug"}
    issue = {"object_kind": "issue", "object_attributes": ISSUE | {"action": "update"}}
    added = issue | {"changes": {"labels": {"previous": [other], "current": [other, one]}}}
    assert isinstance(on_gitlab(added), TaskStart)
    there = issue | {"changes": {"labels": {"previous": [one], "current": [one, other]}}}
    assert isinstance(on_gitlab(there), Ignored)
    assert isinstance(on_gitlab(issue), Ignored)


@pytest.mark.parametrize(
    "note", [{"noteable_type": "MergeRequest"}, {"action": "update"}, {"note": "please /rclaude"}]
)
def test_no_other_comment_on_gitlab_starts_one(note: dict[str, Any]) -> None:
    event = {"object_kind": "note", "object_attributes": NOTE | note, "issue": ISSUE}
    assert isinstance(on_gitlab(event), Ignored)


def test_a_comment_on_gitea_starts_a_task_and_a_label_does_not() -> None:
    start = from_forge("gitea", {"x-gitea-event": "issue_comment"}, comment(is_pull=False), RULES)
    assert isinstance(start, TaskStart)
    labelled = comment(action="label_updated")
    assert isinstance(from_forge("gitea", {"x-gitea-event": "issues"}, labelled, RULES), Ignored)
    pull = comment(is_pull=True)
    assert isinstance(from_forge("gitea", {"x-gitea-event": "issue_comment"}, pull, RULES), Ignored)


def test_a_signature_is_that_of_the_body() -> None:
    # the example of docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
    secret, signature = (
        "It's a Secret to Everybody",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    )
    assert is_signed("github", secret, b"Hello, World!", {"x-hub-signature-256": signature})
    assert not is_signed("github", secret, b"Hello, World?", {"x-hub-signature-256": signature})
    assert not is_signed("github", secret, b"Hello, World!", {})
    plain = {"x-gitea-signature": signature.removeprefix("sha256=")}
    assert is_signed("gitea", secret, b"Hello, World!", plain)
    assert not is_signed("gitea", secret, b"Hello, World?", plain)
    assert is_signed("gitlab", secret, b"", {"x-gitlab-token": secret})
    assert not is_signed("gitlab", secret, b"", {"x-gitlab-token": ""})
