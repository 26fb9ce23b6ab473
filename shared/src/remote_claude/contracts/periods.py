"""Billing periods: a pure function of an account's anchor, the same for the scheduler that admits and for billing.

A period begins at `starts_at` and ends just before `ends_at`. The periods of one anchor follow each other without a
gap. An anchor is `calendar` (months in UTC), or an instant in UTC: periods then begin on its day of the month, at its
time of day. A month that lacks this day begins its period on its last day.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator

CALENDAR: Final = "calendar"


class Period(NamedTuple):
    """`id` is `2026-11` for a calendar month, the date it begins on (`2026-11-15`) for an anniversary.

    `starts_at` and `ends_at` are RFC 3339 in UTC with six decimals, so that they compare as text.
    """

    id: str
    starts_at: str
    ends_at: str

    def days(self) -> list[str]:
        """Every day that it has a part of, as `2026-11-15`."""
        first, end = datetime.fromisoformat(self.starts_at), datetime.fromisoformat(self.ends_at)
        last = (end - timedelta.resolution).date()
        return [(first.date() + timedelta(days=n)).isoformat() for n in range((last - first.date()).days + 1)]


def valid_anchor(anchor: str) -> str:
    """The anchor itself. Raises `ValueError` for one that is neither `calendar` nor an instant with its offset."""
    if anchor != CALENDAR and datetime.fromisoformat(anchor).tzinfo is None:
        raise ValueError(f"the anchor {anchor!r} has no time zone; write it in UTC, as 2026-11-15T09:30:00Z")
    return anchor


Anchor = Annotated[str, AfterValidator(valid_anchor)]
"""`calendar`, or an instant as RFC 3339."""


def period_at(anchor: str, instant: datetime) -> Period:
    """The period that `instant` is in. Raises `ValueError` for an anchor or an instant without a time zone."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    utc = instant.astimezone(UTC)
    month = utc.year * 12 + utc.month - 1
    if utc < _start(anchor, month):
        month -= 1
    elif utc >= _start(anchor, month + 1):
        month += 1
    return _period(anchor, month)


def period_after(anchor: str, period: Period) -> Period:
    """The period that follows."""
    return period_at(anchor, datetime.fromisoformat(period.ends_at))


@lru_cache(maxsize=4096)
def _period(anchor: str, month: int) -> Period:
    start = _start(anchor, month)
    id = f"{start:%Y-%m}" if anchor == CALENDAR else f"{start:%Y-%m-%d}"
    return Period(id, _text(start), _text(_start(anchor, month + 1)))


@lru_cache(maxsize=4096)
def _start(anchor: str, month: int) -> datetime:
    """When the period of a month (counted from year 0) begins."""
    year, index = divmod(month, 12)
    if anchor == CALENDAR:
        return datetime(year, index + 1, 1, tzinfo=UTC)
    instant = datetime.fromisoformat(valid_anchor(anchor)).astimezone(UTC)
    day = min(instant.day, monthrange(year, index + 1)[1])
    return instant.replace(year=year, month=index + 1, day=day)


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
