"""`make bench`: the figures that are measured, each against a limit or a peer of the same run.

`make bench FIGURE=7,9` runs some. Prints a table, and writes `build/benchmarks.json`.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import first_run
import idle_memory
import replay
import startup
from readings import Reading

ROOT = Path(__file__).resolve().parents[2]


FIGURES: dict[str, Callable[[], Iterator[Reading]]] = {
    "5": replay.measure,
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
        for reading in FIGURES[figure]():
            mark = "met" if reading.met else "MISSED"
            print(
                f"{reading.figure:>10}  {reading.what:<56} {reading.value:>9.2f} of {reading.limit:.2f} {reading.unit}"
                f" = {reading.ratio:.2f}, {reading.goal}: {mark}",
                flush=True,
            )
            rows.append({**asdict(reading), "ratio": round(reading.ratio, 4)})
    out = ROOT / "build" / "benchmarks.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"figures": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main([part for argument in sys.argv[1:] for part in argument.split(",") if part])
