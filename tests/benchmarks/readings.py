"""What a benchmark reads: a value, the limit it is held against in the same run, and whether that is good enough."""

from __future__ import annotations

from dataclasses import dataclass


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

    @property
    def ratio(self) -> float:
        return self.value / self.limit


def at_most(
    bound: float = 1.0, *, figure: int | str, what: str, value: float, limit: float, unit: str
) -> Reading:
    """Good when the value is at most `bound` times the limit."""
    goal = f"at most {bound:g} x" if bound != 1 else f"at most {limit:g} {unit}"
    met = value <= bound * limit
    return Reading(figure=figure, what=what, value=value, limit=limit, unit=unit, goal=goal, met=met)


def at_least(bound: float, *, figure: int | str, what: str, value: float, limit: float, unit: str) -> Reading:
    """Good when the value is at least `bound` times the limit."""
    goal, met = f"at least {bound:g} x", value >= bound * limit
    return Reading(figure=figure, what=what, value=value, limit=limit, unit=unit, goal=goal, met=met)
