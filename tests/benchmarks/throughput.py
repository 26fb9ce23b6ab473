"""Durable no-op tasks a second, submitted by one call each, until each result can be read, beside Restate and PGQueuer.

Five interleaved rounds of 64 and of 1,000 in flight. Ours are authenticated, checked against the quota, metered and billed,
and the log verifies afterwards; theirs are not. `peers/systems.py` says how each is driven. Load and systems share the
processors; CPU a task is that of the system's processes, without the load's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from statistics import median

import uvloop
from peers.systems import Round, round_of, systems
from readings import Reading, at_least, at_most

ROUNDS = 5
TASKS = {64: 1_500, 1000: 3_000}
GOALS = {"Restate": 2.0, "PGQueuer": 1.5}


def measure() -> Iterator[Reading]:
    """By how many are in flight: against each peer the rate, then CPU."""
    for in_flight, rounds in uvloop.run(_measure()).items():
        ours = rounds.pop("ours")
        for peer, theirs in rounds.items():
            yield at_least(
                GOALS[peer], figure=1, what=f"no-op tasks, {in_flight:,} in flight, against {peer}",
                value=[each.rate for each in ours], limit=[each.rate for each in theirs], unit="tasks/s",
            )  # fmt: skip
            yield at_most(
                figure=1, what=f"CPU a no-op task, {in_flight:,} in flight, against {peer}",
                value=[each.whole for each in ours], limit=[each.whole for each in theirs], unit="ms",
            )  # fmt: skip


async def _measure() -> dict[int, dict[str, list[Round]]]:
    found: dict[int, dict[str, list[Round]]] = {}
    async with systems() as running:
        for system in running:
            await round_of(system, 300, 64)  # warm
        for in_flight, tasks in TASKS.items():
            rounds = found[in_flight] = {system.name: [] for system in running}
            for _ in range(ROUNDS):
                for system in running:
                    rounds[system.name].append(await round_of(system, tasks, in_flight))
            for name, each in rounds.items():
                split = {what: round(median(one.cpu[what] for one in each), 2) for what in each[0].cpu}
                print(
                    f"{in_flight:5} {name:9} {median(one.rate for one in each):7.0f}/s, CPU ms {split}",
                    file=sys.stderr,
                )
    return found
