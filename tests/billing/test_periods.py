"""Periods follow from an anchor and an instant, and from nothing else."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from remote_claude.billing.api.usage import PeriodId
from remote_claude.contracts.periods import CALENDAR, Period, period_after, period_at

YEAR_2020 = datetime(2020, 1, 1, tzinfo=UTC)
instants = st.timedeltas(timedelta(0), timedelta(days=20 * 365)).map(lambda after: YEAR_2020 + after)
anchors = st.just(CALENDAR) | instants.map(lambda moment: moment.isoformat())


def at(anchor: str, instant: str) -> Period:
    return period_at(anchor, datetime.fromisoformat(instant))


def test_a_calendar_period_is_a_month_in_utc() -> None:
    assert at(CALENDAR, "2027-01-01T00:30:00+01:00") == (
        "2026-12",
        "2026-12-01T00:00:00.000000Z",
        "2027-01-01T00:00:00.000000Z",
    )
    assert at(CALENDAR, "2027-01-01T00:00:00Z").id == "2027-01"


def test_an_anniversary_period_begins_on_the_anchors_day_and_time() -> None:
    anchor = "2026-11-15T09:30:00Z"
    assert at(anchor, "2026-11-15T09:29:59.999999Z").id == "2026-10-15"
    assert at(anchor, "2026-11-15T09:30:00Z") == (
        "2026-11-15",
        "2026-11-15T09:30:00.000000Z",
        "2026-12-15T09:30:00.000000Z",
    )


def test_a_short_month_begins_its_period_on_its_last_day_and_the_next_one_goes_back() -> None:
    anchor = "2027-01-31T12:00:00Z"
    assert at(anchor, "2027-02-28T11:59:59Z").id == "2027-01-31"
    assert at(anchor, "2027-02-28T12:00:00Z").ends_at == "2027-03-31T12:00:00.000000Z"
    assert at(anchor, "2027-03-31T12:00:00Z").ends_at == "2027-04-30T12:00:00.000000Z"
    assert at(anchor, "2028-02-29T12:00:00Z").id == "2028-02-29"


def test_an_anchor_on_a_leap_day_has_a_period_in_every_year() -> None:
    anchor = "2028-02-29T00:00:00Z"
    assert at(anchor, "2029-02-28T00:00:00Z").id == "2029-02-28"
    assert at(anchor, "2032-02-29T00:00:00Z").id == "2032-02-29"
    assert at(anchor, "2029-03-01T00:00:00Z").ends_at == "2029-03-29T00:00:00.000000Z"


def test_an_anchor_in_another_zone_means_the_same_instant() -> None:
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    assert period_at("2026-11-15T00:30:00+02:00", moment)[1:] == period_at("2026-11-14T22:30:00Z", moment)[1:]


@pytest.mark.parametrize(
    ("anchor", "reason"),
    [
        ("monthly", "Invalid isoformat"),
        ("2026-11-15T09:30:00", "no time zone"),
        ("2026-13-01T00:00:00Z", "month must be"),
    ],
)
def test_an_anchor_that_is_no_instant_is_refused(anchor: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        at(anchor, "2026-11-20T00:00:00Z")


@given(anchors, instants)
def test_every_instant_is_in_its_period_and_periods_follow_without_a_gap(
    anchor: str, moment: datetime
) -> None:
    period = period_at(anchor, moment)
    starts_at, ends_at = (datetime.fromisoformat(bound) for bound in period[1:])
    assert starts_at <= moment < ends_at
    assert timedelta(days=27) < ends_at - starts_at < timedelta(days=32)
    following = period_after(anchor, period)
    assert following.starts_at == period.ends_at
    assert following.id > period.id
    assert period_at(anchor, ends_at - timedelta(microseconds=1)) == period


@pytest.mark.parametrize("wrong", ["2026-00", "2026-13", "november", "2026-11-41"])
def test_a_wrong_period_of_a_request_is_refused_with_a_sentence(wrong: str) -> None:
    with pytest.raises(ValidationError, match="A period is a month, such as 2026-11, or the date"):
        TypeAdapter(PeriodId).validate_python(wrong)
