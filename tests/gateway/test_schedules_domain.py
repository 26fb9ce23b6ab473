"""When a schedule is due: given-when-then on its events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.gateway import ScheduleCreated, ScheduleDue, ScheduleRefused, ScheduleRemoved
from remote_claude.gateway.domain import schedules
from remote_claude.gateway.domain.refusals import ScheduleInvalid, ScheduleNotFound
from remote_claude.gateway.domain.schedules import RefuseDue, RemoveSchedule, StartDue

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
