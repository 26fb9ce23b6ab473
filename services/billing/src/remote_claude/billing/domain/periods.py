"""Billing periods: calendar months in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from remote_claude.eventsourcing.events import timestamp


@dataclass(frozen=True, slots=True, order=True)
class Period:
    year: int
    month: int

    @classmethod
    def containing(cls, moment: datetime) -> Self:
        utc = moment.astimezone(UTC)
        return cls(utc.year, utc.month)

    @classmethod
    def named(cls, name: str) -> Self:
        """The period of a name such as `2026-11`. Raises `ValueError`."""
        year, month = name.split("-")
        return cls(int(year), int(month))

    @property
    def name(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    def following(self) -> Self:
        return type(self)(self.year + self.month // 12, self.month % 12 + 1)

    def bounds(self) -> tuple[str, str]:
        """The first instant in it, and the first after it."""
        after = self.following()
        return (
            timestamp(datetime(self.year, self.month, 1, tzinfo=UTC)),
            timestamp(datetime(after.year, after.month, 1, tzinfo=UTC)),
        )
