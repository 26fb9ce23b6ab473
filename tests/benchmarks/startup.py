"""Figure 9: how long `rclaude up` takes, and how long `rclaude --help`."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator

from readings import Reading, at_most

from product import Product, product

RUNS = 5


def measure() -> Iterator[Reading]:
    """Seconds: cold (no data), warm (the data are there), and the help; medians of five."""
    cold, warm = [], []
    for _ in range(RUNS):
        with product(up=False) as one:
            cold.append(timed(one, "up", "--detach"))
            one.ok("down")
            warm.append(timed(one, "up", "--detach"))
            helped = [timed(one, "--help") for _ in range(RUNS)]
    for what, seconds, limit in (
        ("rclaude up, no data yet, to ready", cold, 3.0),
        ("rclaude up, warm, to ready", warm, 1.5),
        ("rclaude --help", helped, 0.1),
    ):
        yield at_most(figure=9, what=what, value=statistics.median(seconds), limit=limit, unit="s")


def timed(one: Product, *args: str) -> float:
    """Seconds of one command."""
    began = time.perf_counter()
    subprocess.run(one.command(*args), env=one.env, check=True, capture_output=True)
    return time.perf_counter() - began
