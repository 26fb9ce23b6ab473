"""A thousand seeds of what can go wrong, and what holds in each of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.report import failure
from simulator.world import simulate

TESTS = Path(__file__).resolve().parents[1]
EACH = 20


def hold(seeds: range) -> None:
    broken = [failure(outcome) for outcome in map(simulate, seeds) if outcome.broken]
    if broken:
        pytest.fail("\n\n".join(broken), pytrace=False)


@pytest.mark.parametrize("first", range(1, 41, EACH))
def test_what_always_holds_does(first: int) -> None:
    hold(range(first, first + EACH))


@pytest.mark.nightly
@pytest.mark.parametrize("first", range(41, 1041, EACH))
def test_what_always_holds_does_in_a_thousand_seeds(first: int) -> None:
    hold(range(first, first + EACH))


def test_a_seed_gives_the_same_log_byte_for_byte() -> None:
    """In another process, with other hashes."""

    def log(hashes: str) -> bytes:
        return subprocess.run(
            [sys.executable, "-m", "simulator", "--log", "7"],
            env={**os.environ, "PYTHONPATH": str(TESTS), "PYTHONHASHSEED": hashes},
            capture_output=True,
            check=True,
        ).stdout

    first = log("1")
    assert first.count(b"\n") > 50
    assert log("2") == first


def test_another_seed_is_another_story() -> None:
    assert simulate(1).log != simulate(2).log
