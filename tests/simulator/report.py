"""What is told of a seed: a line when all holds; else what does not, how to replay it, and what led to it."""

from __future__ import annotations

import re

from simulator.world import Outcome

LINES = 80
WEATHER = re.compile(
    r"\d  (starts|dies|ends|falls|wakes|a trap|is cut|is back|the |is asked|everything|nobody)"
)


def summary(outcome: Outcome) -> str:
    """What became of it, in a line; and one for each thing that does not hold."""
    counts = ", ".join(f"{n} {name}" for name, n in outcome.counts.items())
    verdict = "does not hold" if outcome.broken else "all holds"
    first = f"seed {outcome.seed}: {verdict}; {len(outcome.events)} events, {outcome.seconds:.0f} virtual s, {counts}"
    return "\n".join([first, *(f"  BROKEN: {what}" for what in outcome.broken)])


def failure(outcome: Outcome) -> str:
    """The summary, the command that replays it, and the end of what happened to those that it names."""
    named = set(re.findall(r"(?:task|org|runner|key)_\w+", " ".join(outcome.broken)))
    lines = [line for line in outcome.trace if WEATHER.search(line) or any(name in line for name in named)]
    left = f"... {len(lines) - LINES} lines before\n" if len(lines) > LINES else ""
    return f"{summary(outcome)}\n\nReplay it: make simulate SEED={outcome.seed}\n\n{left}" + "\n".join(
        line[:240] for line in lines[-LINES:]
    )
