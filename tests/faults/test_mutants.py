"""The harness proves itself: each planted fault is found, as a breach of the invariant that it breaks."""

import asyncio
from collections.abc import Iterator

import pytest

from crashing.mutants import MUTANTS
from crashing.runs import run
from crashing.stack import Ground, ground
from crashing.workload import Workload

QUICK = {"quota_off_by_one", "archive_edited", "checkpoint_apart"}


@pytest.fixture(scope="module")
def here() -> Iterator[Ground]:
    with ground() as one:
        yield one


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.nightly) for name in MUTANTS]
)
def test_a_planted_fault_is_found(here: Ground, name: str) -> None:
    mutant = MUTANTS[name]
    found = asyncio.run(
        run(
            here,
            mutant.scenario,
            mutant=name,
            work=getattr(Workload, mutant.work),
            patience_s=mutant.patience_s,
            **mutant.environment,
        )
    )
    breaches = {broken.invariant for broken in found.broken}
    assert found.deaths == mutant.scenario
    if mutant.invariant:
        assert mutant.invariant in breaches, f"{mutant.what} Nobody noticed: {found.broken}"
    else:
        assert not found.broken


def test_each_invariant_has_a_mutant() -> None:
    assert {mutant.invariant for mutant in MUTANTS.values()} == set(range(13))
