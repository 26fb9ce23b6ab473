"""`make bench`: the figures that are measured, each against a limit or a peer of the same run.

`make bench FIGURE=7,9` runs some. Prints a table, and writes `build/benchmarks.json`.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import first_run
import idle_memory
import startup

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One measured value. `ratio` is value to limit; it is `met` at 1 or less."""

    figure: str
    what: str
    value: float
    unit: str
    limit: float
    goal: str

    @property
    def ratio(self) -> float:
        return self.value / self.limit

    @property
    def met(self) -> bool:
        return self.ratio <= 1


def readings(figure: str, measured: Iterator[tuple[str, float, str, float, str]]) -> Iterator[Reading]:
    for what, value, unit, limit, goal in measured:
        yield Reading(figure=figure, what=what, value=value, unit=unit, limit=limit, goal=goal)


FIGURES: dict[str, Callable[[], Iterator[tuple[str, float, str, float, str]]]] = {
    "7": idle_memory.measure,
    "9": startup.measure,
    "first-run": first_run.measure,
}


def main(wanted: list[str]) -> None:
    """Measure, print, write."""
    unknown = set(wanted) - set(FIGURES)
    if unknown:
        sys.exit(f"no such figure: {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    print(f"{platform.platform()}, {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    rows = []
    for figure in wanted or FIGURES:
        for reading in readings(figure, FIGURES[figure]()):
            mark = "met" if reading.met else "MISSED"
            print(
                f"{reading.figure:>10}  {reading.what:<56} {reading.value:>9.2f} {reading.unit:<5}"
                f" of {reading.limit:g} {reading.unit} = {reading.ratio:.2f}  {mark}",
                flush=True,
            )
            rows.append({**asdict(reading), "ratio": round(reading.ratio, 4), "met": reading.met})
    out = ROOT / "build" / "benchmarks.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"figures": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main([part for argument in sys.argv[1:] for part in argument.split(",") if part])
