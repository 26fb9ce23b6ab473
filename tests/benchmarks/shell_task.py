"""How long `rclaude run --agent shell --no-repo true` takes on a stack that is up, from the command's start to its end.

Five runs, after one that does not count. It is the whole of it: the command's own start, the submission, the sandbox, the
task's end and its summary.
"""

from __future__ import annotations

from collections.abc import Iterator

from readings import Reading, at_most
from startup import timed

from product import product

RUNS = 5
GOAL_S = 0.3


def measure() -> Iterator[Reading]:
    """Seconds."""
    with product() as stack:
        seconds = [timed(stack, "run", "--agent", "shell", "--no-repo", "true") for _ in range(RUNS + 1)][1:]
    yield at_most(figure=12, what="rclaude run --agent shell true", value=seconds, limit=GOAL_S, unit="s")
