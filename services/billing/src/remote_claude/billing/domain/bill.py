"""A bill: the cost of a period of an organisation, line by line. One type for the routes, the invoices and the conservation check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from remote_claude.billing.domain.rating import Key, Line, Segment, rate, share_of, target_of, total
from remote_claude.contracts.prices import PriceBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The sum of one key in one segment and one generation of a period. `events` is how many it is the sum of."""

    generation: int
    segment: int
    key: Key
    metered: int
    written_off: int
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """The lines of a period, with the sums that they were rated from."""

    org: str
    period: str
    starts_at: str
    ends_at: str
    currency: str
    segments: Sequence[Segment]
    sums: Sequence[Sum]
    lines: Sequence[Line]

    @property
    def total_nano(self) -> int:
        """Billionths of the currency's unit."""
        return total(self.lines)

    def events(self, line: Line) -> int:
        """How many events a line is the sum of."""
        return sum(s.events for s in self._of(line))

    def keys(self, line: Line) -> list[Key]:
        """What a line is the sum of."""
        return list(dict.fromkeys(s.key for s in self._of(line)))

    def has(self, meter: str) -> bool:
        """Whether anything of a meter was recorded in the period, also if it was written off later."""
        return any(s.key.meter == meter and s.events for s in self.sums)

    def _of(self, line: Line) -> Iterable[Sum]:
        book = next(segment.price_book for segment in self.segments if segment.number == line.segment)
        return (s for s in self.sums if s.segment == line.segment and target_of(s.key, book) == line.key)

    def quantities(self) -> Mapping[Key, int]:
        """What was used, over all segments."""
        found: Counter[Key] = Counter()
        for segment in self.segments:
            found.update(segment.quantities)
        return found

    def price_versions(self) -> str:
        """The versions of the price books, in their order."""
        return ", ".join(dict.fromkeys(segment.price_book.version for segment in self.segments))


def bill(
    *,
    org: str,
    period: str,
    starts_at: str,
    ends_at: str,
    currency: str,
    segments: Sequence[tuple[int, str, PriceBook]],
    sums: Iterable[Sum],
    until: int | None = None,
) -> Bill:
    """Rate a period: `segments` are (number, start, prices). `until` leaves out that generation and later ones."""
    counted = [s for s in sums if until is None or s.generation < until]
    rated: list[Segment] = []
    for n, (number, start, book) in enumerate(segments):
        end = segments[n + 1][1] if n + 1 < len(segments) else ends_at
        quantities: Counter[Key] = Counter()
        for s in counted:
            if s.segment == number:
                quantities[s.key] += s.metered - s.written_off
        share = share_of(start, end, starts_at, ends_at) if starts_at < ends_at else Fraction(1)
        rated.append(
            Segment(
                number=number,
                starts_at=start,
                ends_at=end,
                share=share,
                price_book=book,
                quantities={key: n for key, n in quantities.items() if n},
            )
        )
    return Bill(
        org=org,
        period=period,
        starts_at=starts_at,
        ends_at=ends_at,
        currency=currency,
        segments=rated,
        sums=counted,
        lines=rate(rated),
    )
