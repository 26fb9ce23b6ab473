"""What `rclaude-admin log verify` finds, and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Side = Literal["broker", "archive", "heads"]
Kind = Literal["edited", "reordered", "missing", "cut", "contradicted"]
MOST = 1000
"""So many findings are kept; the others are counted."""


@dataclass(slots=True)
class Finding:
    """One thing that is wrong, from position `first` to `last` of `side`."""

    side: Side
    kind: Kind
    first: int
    last: int
    detail: str

    def __str__(self) -> str:
        where = (
            f"position {self.first}" if self.first == self.last else f"positions {self.first} to {self.last}"
        )
        return f"{self.side}: {where} {self.kind}: {self.detail}"


@dataclass(slots=True)
class ArchiveReport:
    """What was held against each other, and what was found.

    `broker` and `archive` are the first and last position of each (last 0 for an empty one), `heads` how many signed
    heads there are, `unarchived` how many events wait for the copier. `findings` are in the order of positions.
    """

    broker: tuple[int, int] = (1, 0)
    archive: tuple[int, int] = (1, 0)
    heads: int = 0
    unarchived: int = 0
    findings: list[Finding] = field(default_factory=list)
    more: int = 0

    def add(self, side: Side, kind: Kind, position: int, detail: str, *, last: int | None = None) -> None:
        """Note a finding; one that goes on where the last of its like ended makes that longer."""
        end = last or position
        for known in reversed(self.findings[-3:]):
            alike = (known.side, known.kind, known.detail) == (side, kind, detail)
            if alike and known.last + 1 == position:
                known.last = end
                return
        if len(self.findings) < MOST:
            self.findings.append(Finding(side, kind, position, end, detail))
        else:
            self.more += 1

    def document(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "broker": {"first": self.broker[0], "last": self.broker[1]},
            "archive": {"first": self.archive[0], "last": self.archive[1]},
            "heads": self.heads,
            "unarchived": self.unarchived,
            "findings": [asdict(finding) for finding in self.findings],
            "more": self.more,
        }

    def summary(self) -> str:
        """The report for people."""
        lines = [
            f"broker {self.broker[0]:,} to {self.broker[1]:,}, archive to {self.archive[1]:,}, "
            f"{self.heads} signed heads, {self.unarchived:,} events not archived yet",
            *map(str, self.findings),
        ]
        if self.more:
            lines.append(f"and {self.more:,} more")
        if self.archive[1] and not self.heads:
            lines.append("no head is signed: an archive that was edited as a whole would look like this one")
        if not self.findings:
            lines.append("nothing is wrong")
        return "\n".join(lines)
