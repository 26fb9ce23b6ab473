"""Figure 7: what the whole embedded stack holds in memory when it has nothing to do."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
from readings import Reading, at_most

from product import product

LIMIT_MIB = 390.0  # Restate's server and one worker, as first read on such a machine


def measure() -> Iterator[Reading]:
    """MiB, shared pages counted once (PSS), after one task has run."""
    with product() as one:
        one.ok("run", "--agent", "shell", "--no-repo", "true")
        roots = [psutil.Process(pid) for role, pid in one.status()["pids"].items() if role != "workers"]
        processes = {child for root in roots for child in (root, *root.children(recursive=True))}
        held = sum(process.memory_full_info().pss for process in processes) / 1024 / 1024
    what = f"idle memory of {len(processes)} processes, PSS"
    yield at_most(figure=7, what=what, value=held, limit=LIMIT_MIB, unit="MiB")
