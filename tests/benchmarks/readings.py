"""What a benchmark reads: a value, the limit it is held against in the same run, and whether that is good enough."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Runs = float | Sequence[float]
"""One value, or that of each of several runs: the median counts, the range is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What this machine can do, whatever uses it."""

    what: str
    runs: Sequence[float]
    unit: str

    @property
    def value(self) -> float:
        return statistics.median(self.runs)

    def document(self) -> dict[str, Any]:
        return {"what": self.what, "value": self.value, "range": list(bounds(self.runs)), "unit": self.unit}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`ratio` is value to limit; `goal` says in words what it has to be for `met`."""

    figure: int | str
    what: str
    value: float
    limit: float
    unit: str
    goal: str
    met: bool
    range: tuple[float, float]

    @property
    def ratio(self) -> float:
        return self.value / self.limit

    def document(self) -> dict[str, Any]:
        return {
            "figure": self.figure,
            "what": self.what,
            "value": self.value,
            "limit": self.limit,
            "ratio": round(self.ratio, 4),
            "goal": self.goal,
            "met": self.met,
            "unit": self.unit,
            "range": list(self.range),
        }


def at_most(
    bound: float = 1.0, *, figure: int | str, what: str, value: Runs, limit: Runs, unit: str
) -> Reading:
    """Good when the value is at most `bound` times the limit."""
    goal = f"at most {bound:g} x" if bound != 1 else f"at most {middle(limit):g} {unit}"
    met = middle(value) <= bound * middle(limit)
    return _reading(figure, what, value, limit, unit, goal, met)


def at_least(bound: float, *, figure: int | str, what: str, value: Runs, limit: Runs, unit: str) -> Reading:
    """Good when the value is at least `bound` times the limit."""
    met = middle(value) >= bound * middle(limit)
    return _reading(figure, what, value, limit, unit, f"at least {bound:g} x", met)


def _reading(
    figure: int | str, what: str, value: Runs, limit: Runs, unit: str, goal: str, met: bool
) -> Reading:
    return Reading(
        figure=figure,
        what=what,
        value=middle(value),
        limit=middle(limit),
        unit=unit,
        goal=goal,
        met=met,
        range=bounds(value),
    )


def middle(runs: Runs) -> float:
    return runs if isinstance(runs, float | int) else statistics.median(runs)


def bounds(runs: Runs) -> tuple[float, float]:
    return (runs, runs) if isinstance(runs, float | int) else (min(runs), max(runs))
