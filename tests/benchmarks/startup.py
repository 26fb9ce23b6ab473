"""Figure 9: how long `rclaude up` takes, and how long `rclaude --help`."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator

from product import Product, product

RUNS = 5


def measure() -> Iterator[tuple[str, float, str, float, str]]:
    """Seconds: cold (no data), warm (the data are there), and the help; medians of five."""
    cold, warm = [], []
    for _ in range(RUNS):
        with product(up=False) as one:
            cold.append(timed(one, "up", "--detach"))
            one.ok("down")
            warm.append(timed(one, "up", "--detach"))
            helped = [timed(one, "--help") for _ in range(RUNS)]
    yield "rclaude up, no data yet, to ready", statistics.median(cold), "s", 3.0, "at most 3 s"
    yield "rclaude up, warm, to ready", statistics.median(warm), "s", 1.5, "at most 1.5 s"
    yield "rclaude --help", statistics.median(helped), "s", 0.1, "under 0.1 s"


def timed(one: Product, *args: str) -> float:
    """Seconds of one command."""
    began = time.perf_counter()
    subprocess.run(one.command(*args), env=one.env, check=True, capture_output=True)
    return time.perf_counter() - began
