"""The services are killed before and after everything they say: what always holds, holds afterwards."""

import asyncio
import os
from contextlib import ExitStack

import pytest

from crashing.exploring import explore, first_and_last, grounds
from crashing.workload import Workload

SEED = int(os.environ.get("CRASH_SEED", "20261124"))


@pytest.mark.timeout(280)
def test_a_sample_of_crash_points_breaks_nothing() -> None:
    with ExitStack() as stack:
        explored = explore(grounds(stack, 1), Workload.run_noops, first_and_last, sample=2, seed=SEED)
        found = asyncio.run(explored)
    print(f"CRASH_SEED={SEED}: {found.summary()}")
    assert not found.broken, found.report()
    assert len(found.tested) >= 1, found.summary()


@pytest.mark.nightly
@pytest.mark.timeout(4 * 3600)
def test_no_crash_point_breaks_anything() -> None:
    """Every place that a run comes by, and every one that only a recovery does, at several of its hits."""
    hits = (
        (lambda count: set(range(1, count + 1))) if os.environ.get("CRASH_HITS") == "all" else first_and_last
    )
    with ExitStack() as stack:
        found = asyncio.run(explore(grounds(stack, 3), Workload.run, hits))
    print(found.summary())
    assert not found.broken, found.report()
    never = sorted(map(str, found.places.keys() - found.died_at))
    assert not never, f"never died at {never}"
