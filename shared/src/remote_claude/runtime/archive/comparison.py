"""Broker, archive and signed heads side by side, position by position, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.runtime.archive.chain import GENESIS, content, link
from remote_claude.runtime.archive.findings import ArchiveReport, Side
from remote_claude.runtime.archive.heads import SignedHead
from remote_claude.runtime.archive.store import Head, Row, columns_of, recorded

SUSPECTS = 1000
"""So many differences are classified by what they hold; the ones after them are called edits."""

BROKEN = 12
"""So many rows that only the archive has are tried in each other's places."""

EDITED = "the content is not what was archived"


@dataclass(slots=True)
class _Suspect:
    """A position where broker and archive differ: digests of what each holds, and whether the archive's chain holds."""

    position: int
    broker: bytes
    archive: bytes
    chained: bool
    side: Side | None = None


class Comparison:
    """Feed it every position that broker or archive has, in order, then `finish`. `report` fills meanwhile.

    Up to `trimmed` the broker's log may begin later.
    """

    def __init__(
        self, report: ArchiveReport, head: Head, heads: Sequence[SignedHead], *, trimmed: int = 0
    ) -> None:
        self.report = report
        self._head = head
        self._trimmed = trimmed
        self._heads = [h for h in heads if h.problem is None]
        self._suspects: list[_Suspect] = []
        self._broken: list[tuple[Row, bytes | None]] = []
        self._next = 1
        self._stored: bytes | None = GENESIS  # the archived hash of the position before, where there is one
        # the chain as it follows from the contents: the broker's, otherwise the archive's
        self._expected = GENESIS
        self._witness = True  # all of it since the last head came from the broker
        self._signed = 0
        report.heads = len(heads)
        for signed in heads:
            if signed.problem is not None:
                report.add("heads", "edited", signed.position, f"{signed.name}: {signed.problem}")

    def feed(self, event: RecordedEvent | None, row: Row | None) -> None:
        """What broker and archive hold at one position; at least one of them holds something."""
        position = event.position if event is not None else row.position if row is not None else 0
        if position > self._next:
            self._absent(self._next, position - 1, broker=True, archive=True)
            self._stored, self._witness = None, False
        if event is None:
            self._absent(position, position, broker=True)
        if row is None:
            self._absent(position, position, archive=True)
            self._stored = None
        self._next = position + 1
        if event is not None:
            self._expected = link(self._expected, position, event.stream, event.headers, event.data)
        elif row is not None:
            self._witness = False
            self._expected = link(self._expected, position, row.subject, row.headers, row.data)
        if row is not None:
            self._archived(event, row)
            self._stored = row.hash
        while self._heads and self._heads[0].position <= position:
            self._hold_against(self._heads.pop(0), row)

    def finish(self) -> None:
        """The ends, and what only the whole shows."""
        last = self.report.broker[1]
        if self._next <= max(self._head.position, last):
            self._absent(self._next, max(self._head.position, last), broker=True, archive=True)
        self._blame("broker")
        self._name_suspects()
        self._name_broken()
        for signed in self._heads:
            self._beyond(signed)
        ends = self._next - 1 == self._head.position
        if ends and self._stored is not None and self._stored != self._head.hash:
            self.report.add(
                "archive", "edited", self._head.position, "the checkpoint's hash is not that of its event"
            )
        self.report.findings.sort(key=lambda finding: finding.first)

    def _absent(self, first: int, last: int, *, broker: bool = False, archive: bool = False) -> None:
        """Positions at which something is missing; what the archive has yet to copy is only counted."""
        begin, end = self.report.broker
        if broker and (cut := (max(first, self._trimmed + 1), min(last, begin - 1)))[0] <= cut[1]:
            self.report.add(
                "broker", "cut", cut[0], "the log begins later, and nobody trimmed it", last=cut[1]
            )
        if broker and last > end:
            self.report.add(
                "broker", "cut", max(first, end + 1), "the log ends before the archive", last=last
            )
        if broker and (inside := (max(first, begin), min(last, end)))[0] <= inside[1]:
            self.report.add("broker", "missing", inside[0], "the log goes on after it", last=inside[1])
        if archive and first <= self._head.position:
            upto = min(last, self._head.position)
            self.report.add("archive", "missing", first, "the archive's checkpoint is past it", last=upto)
        if archive and last > self._head.position:
            self.report.unarchived += last - max(first - 1, self._head.position)

    def _archived(self, event: RecordedEvent | None, row: Row) -> None:
        """Hold an archived row against the broker's event and the chain."""
        place = row.position
        if place > self._head.position:
            self.report.add("archive", "edited", place, "the archive's checkpoint is not there yet")
        follows = row.hash == self._expected
        same = event is None or (event.stream, event.headers, event.data) == (
            row.subject,
            row.headers,
            row.data,
        )
        chained = (follows and same) or (
            self._stored is not None
            and link(self._stored, place, row.subject, row.headers, row.data) == row.hash
        )
        if event is not None and not same:
            if len(self._suspects) < SUSPECTS:
                mine, theirs = content(event.stream, event.headers, event.data), _content(row)
                self._suspects.append(_Suspect(place, mine, theirs, chained))
            else:
                self.report.add("broker" if chained else "archive", "edited", place, EDITED)
        elif not chained and not follows:
            if event is None and len(self._broken) < BROKEN:
                self._broken.append((row, self._stored))
            elif self._stored is not None or event is None:
                self.report.add("archive", "edited", place, "its hash does not follow from its content")
        if same and row.columns != columns_of(event if event is not None else recorded(row)):
            self.report.add("archive", "edited", place, "it is filed under what it does not say of itself")

    def _hold_against(self, signed: SignedHead, row: Row | None) -> None:
        """A signed head at the position just fed: it says whose fault the differences before it are."""
        after, self._signed = self._signed, signed.position
        if row is None:
            if signed.position > self._head.position:
                self._beyond(signed)
            return
        where = f"it does not lead to the head {signed.name}, signed at {signed.position}"
        self._blame("archive" if row.hash != signed.hash == self._expected else "broker")
        if row.hash != signed.hash:
            self.report.add("archive", "contradicted", after + 1, where, last=signed.position)
            if self._expected != signed.hash and self._witness:
                self.report.add("broker", "contradicted", after + 1, where, last=signed.position)
        self._expected, self._witness = signed.hash, True

    def _beyond(self, signed: SignedHead) -> None:
        self.report.add(
            "archive", "cut", self._head.position + 1, f"{signed.name} was signed there", last=signed.position
        )

    def _blame(self, otherwise: Side) -> None:
        """Of the differences so far: the archive's where its chain breaks there, otherwise those of `otherwise`."""
        for suspect in self._suspects:
            suspect.side = suspect.side or (otherwise if suspect.chained else "archive")

    def _name_suspects(self) -> None:
        """What was edited, and what was only moved to another's place."""
        belongs = {
            "archive": {s.broker: s.position for s in self._suspects},
            "broker": {s.archive: s.position for s in self._suspects},
        }
        for s in self._suspects:
            side: Side = s.side or "broker"
            place = belongs[side].get(s.archive if side == "archive" else s.broker)
            if place is None:
                self.report.add(side, "edited", s.position, EDITED)
            else:
                self.report.add(side, "reordered", s.position, f"it holds what belongs at {place}")

    def _name_broken(self) -> None:
        """Rows that nobody else has and that break the chain: try them in each other's places."""
        hashes = [row.hash for row, _ in self._broken]
        true: dict[int, bytes] = {}
        placed: dict[int, int] = {}
        for row, stored in self._broken:
            for before in ([stored] if stored is not None else []) + hashes:
                for other, _ in self._broken:
                    fits = link(before, row.position, other.subject, other.headers, other.data)
                    if other is not row and fits in (row.hash, other.hash):
                        true[row.position], placed[row.position] = fits, other.position
        for row, _ in self._broken:
            if (place := placed.get(row.position)) is not None:
                self.report.add("archive", "reordered", row.position, f"it holds what belongs at {place}")
                continue
            truly = true.get(row.position - 1)
            if truly is None or link(truly, row.position, row.subject, row.headers, row.data) != row.hash:
                self.report.add(
                    "archive", "edited", row.position, "its hash does not follow from its content"
                )


def _content(row: Row) -> bytes:
    return content(row.subject, row.headers, row.data)
