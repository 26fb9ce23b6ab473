"""`make bench`: the limits of this machine, then our figures, each against a limit or a peer of the same run.

`make bench FIGURE=3,5` measures some. Prints a table and writes `build/benchmarks.json`; a run of all figures, when all
could be measured, writes `docs/benchmarks.md` as well.

Each figure runs in a process of its own, so that it starts with nothing and leaves nothing, and has a time within which
it has to be done.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import report

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds that a figure has to take its servers down after it was told to stop."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A module whose `measure()` yields readings, that of the figure's own row first; in seconds, how long it may take."""

    module: str
    within: float


LIMITS = Figure("machine_limits", 120)
FIGURES = {
    "1": Figure("throughput", 900),
    "2": Figure("start_latency", 300),
    "3": Figure("fsyncs", 300),
    "4": Figure("fan_out", 300),
    "5": Figure("replay", 600),
    "6": Figure("growth", 5400),
    "7": Figure("idle_memory", 60),
    "8": Figure("fairness", 300),
    "9": Figure("startup", 180),
    "10": Figure("first_frame", 180),
    "11": Figure("visible", 120),
    "12": Figure("shell_task", 60),
    "14": Figure("disk", 600),
    "15": Figure("dashboard", 900),
    "bills": Figure("bills", 900),
    "first-run": Figure("first_run", 600),
    "log": Figure("bench_eventlog", 600),
}


class NotMeasured(Exception):
    """A figure ended without its readings."""


def main(wanted: list[str]) -> None:
    """Measure, print, write."""
    if unknown := set(wanted) - set(FIGURES):
        sys.exit(f"no such figure: {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    found = report.Report(machine=machine(), date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    print(f"{found.machine}, {found.date}", flush=True)
    failed = []
    for name in ("limits", *(wanted or FIGURES)):
        figure = FIGURES.get(name, LIMITS)
        began = time.monotonic()
        readings: list[dict[str, Any]] = []
        try:
            for reading in measured(figure):
                readings.append(reading)
                print(report.line(name, reading), flush=True)
        except NotMeasured as error:
            failed.append(name)
            print(f"{name:>10}  NOT MEASURED: {error}", flush=True)
        else:
            found.add(name, figure.module, readings, time.monotonic() - began)
    out = ROOT / "build" / "benchmarks.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(found.document(), indent=1) + "\n")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")
    if not wanted:
        (ROOT / "docs" / "benchmarks.md").write_text(found.page())


def measured(figure: Figure) -> Iterator[dict[str, Any]]:
    """The readings of one figure as they come. Raises `NotMeasured`."""
    command = [sys.executable, __file__, "--module", figure.module]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    signal.signal(signal.SIGALRM, lambda *_: process.send_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, figure.within)
    began = time.monotonic()
    try:
        for line in process.stdout:
            yield json.loads(line)
        code = process.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        end(process)
    if time.monotonic() - began >= figure.within:
        raise NotMeasured(f"not done within {figure.within:.0f} s")
    if code != 0:
        raise NotMeasured(f"tests/benchmarks/{figure.module}.py ended with {code}, see above")


def end(process: subprocess.Popen[str]) -> None:
    """Let it take its servers down; then end what is left of it."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def machine() -> str:
    """Enough to know what the numbers are of."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, {system}"


def one(module: str) -> None:
    """Measure one figure here: a JSON object a line. What else wants to be said, such as log lines, is for people."""
    results, sys.stdout = sys.stdout, sys.stderr
    for reading in importlib.import_module(module).measure():
        print(json.dumps(reading.document()), file=results, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # takes the servers down, as Ctrl-C does
    if sys.argv[1:2] == ["--module"]:
        one(sys.argv[2])
    else:
        main([part for argument in sys.argv[1:] for part in argument.split(",") if part])
