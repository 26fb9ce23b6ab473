"""What must hold of billing periods: each is opened once, follows from its account's anchor, and overlaps no other."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from remote_claude.contracts.periods import CALENDAR, Period, period_at


class VerifiedPeriods:
    """The periods of each organisation, as the log has opened them."""

    def __init__(self) -> None:
        self._opened: defaultdict[str, dict[str, Period]] = defaultdict(dict)

    def opened(self, data: dict[str, Any], anchor: str | None) -> list[tuple[str, str]]:
        """Take a `PeriodOpened`; the rules that it breaks, each with what is wrong. No `anchor`: there was no plan."""
        org = data["org"]
        period = Period(data["period"], data["starts_at"], data["ends_at"])
        known, broken = self._opened[org], []
        if period.id in known:
            broken.append(("a period is opened once", f"{period.id} of {org}"))
        broken += [
            ("periods do not overlap", f"{period.id} and {other.id} of {org}")
            for other in known.values()
            if other.id != period.id and period.starts_at < other.ends_at and other.starts_at < period.ends_at
        ]
        expected = period_at(anchor or CALENDAR, datetime.fromisoformat(period.starts_at))
        if period != expected:
            broken.append(
                (
                    "a period follows from its account's anchor",
                    f"{period.id} of {org} from {period.starts_at} to {period.ends_at}: {expected.id} is from "
                    f"{expected.starts_at} to {expected.ends_at}",
                )
            )
        known.setdefault(period.id, period)
        return broken
