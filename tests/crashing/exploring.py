"""Drives the services to every point at which they can die, until none is left that they have come by."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain

from crashing.invariants import Broken
from crashing.points import Point
from crashing.runs import Run, Task, run
from crashing.stack import Ground, ground

Scenario = tuple[Point, ...]
Hits = Callable[[int], set[int]]

TRIES, TRIES_OF_THE_RARE = 4, 12
"""So often a point is tried: what a run comes by, and how often, depends on its timing. The second is for places at which
nothing has died yet."""


def first_and_last(count: int) -> set[int]:
    """Which of so many hits of a place are tried."""
    return {1, 2, (count + 1) // 2, count} & set(range(1, count + 1))


@dataclass
class Exploration:
    """What has been tried. `left` are the scenarios that no try has come by, `broken` the runs that broke something.

    `places` are all that a run has come by, each with the deaths before it and how many runs had come by it after those.
    """

    places: dict[Point, Counter[Scenario]] = field(default_factory=dict)
    tested: set[Scenario] = field(default_factory=set)
    left: list[Scenario] = field(default_factory=list)
    broken: list[Run] = field(default_factory=list)
    queue: deque[tuple[Scenario, int]] = field(default_factory=deque)

    def learn(self, found: Run, hits: Hits) -> list[Scenario]:
        """The scenarios that follow from what a run has come by, where nobody had been before."""
        counts: dict[Point, tuple[int, int]] = {}
        for life, points in enumerate(found.seen):
            for point in points:
                deaths, most = counts.get(point.place, (min(life, len(found.deaths)), 0))
                counts[point.place] = deaths, max(most, point.hit)
        new = []
        for place, (deaths, most) in counts.items():
            before = found.deaths[:deaths]
            if place not in self.places:
                self.places[place] = Counter()
                new += [
                    (*before, Point(place.kind, place.when, place.site, hit)) for hit in sorted(hits(most))
                ]
            self.places[place][before] += 1
        return new

    @property
    def died_at(self) -> set[Point]:
        """The places at which the services have died."""
        return {scenario[-1].place for scenario in self.tested}

    def note(self, found: Run, tries: int) -> None:
        """Take in the run of a scenario."""
        if found.broken:
            self.broken.append(found)
        if found.deaths == found.scenario:
            self.tested.add(found.scenario)
        elif tries < (TRIES if found.scenario[-1].place in self.died_at else TRIES_OF_THE_RARE):
            self.queue.append((self._elsewhere(found.scenario, tries), tries + 1))
        else:
            self.left.append(found.scenario)

    def _elsewhere(self, scenario: Scenario, tries: int) -> Scenario:
        """The same point, after the deaths after which most runs have come by its place, or the next most."""
        point = scenario[-1]
        ways = [deaths for deaths, _ in self.places[point.place].most_common(TRIES)]
        return (*ways[tries % len(ways)], point) if ways else scenario

    def summary(self) -> str:
        lost = f", {len(self.left)} not met again" if self.left else ""
        return f"{len(self.tested)} crash points at {len(self.places)} places tested{lost}"

    def report(self) -> str:
        """What broke, each with the command that does it again."""
        lines = []
        for found in self.broken:
            quoted = " ".join(f"'{point}'" for point in found.scenario)
            lines.append(f"PYTHONPATH=tests .venv/bin/python -m crashing {quoted}")
            lines += [f"    invariant {b.invariant}: {b.detail}" for b in found.broken]
        return "\n".join(lines)


async def explore(
    grounds: Sequence[Ground], work: Task, hits: Hits, *, sample: int | None = None, seed: int = 0
) -> Exploration:
    """Record one run, then die at each point, side by side on as many grounds as are given.

    `sample` is how many of the scenarios are run, drawn with `seed`; None is all of them, and all that come up in them.
    """
    exploration = Exploration()
    quiet = await run(grounds[0], work=work)
    if quiet.broken:
        exploration.broken.append(quiet)
        return exploration
    scenarios = exploration.learn(quiet, hits)
    if sample is not None:
        scenarios = random.Random(seed).sample(scenarios, sample)
    exploration.queue.extend((scenario, 1) for scenario in scenarios)
    busy = 0

    async def lane(on: Ground) -> None:
        nonlocal busy
        while exploration.queue or busy:
            if not exploration.queue:
                await asyncio.sleep(0.1)
                continue
            scenario, tries = exploration.queue.popleft()
            busy += 1
            try:
                found = await run(on, scenario, work=work)
            except Exception as error:  # an answer that nobody expects, or services that end by themselves
                found = Run(scenario, scenario, (), (Broken(0, repr(error)),))
            finally:
                busy -= 1
            met = "+" if found.deaths == scenario else "-"
            left = len(exploration.queue)
            print(f"{met} {' then '.join(map(str, scenario))} ({left} left)", flush=True)
            for broken in found.broken:
                print(f"! invariant {broken.invariant}: {broken.detail}", flush=True)
            exploration.note(found, tries)
            if sample is None:
                exploration.queue.extend((new, 1) for new in exploration.learn(found, hits))

    async with asyncio.TaskGroup() as group:
        for on in grounds:
            group.create_task(lane(on))
    return exploration


def grounds(stack: ExitStack, count: int) -> list[Ground]:
    """So many of them."""
    return list(chain.from_iterable([stack.enter_context(ground())] for _ in range(count)))
