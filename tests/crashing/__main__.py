"""`PYTHONPATH=tests .venv/bin/python -m crashing POINT...`: dies at these points, one a life, and says what does not hold."""

import asyncio
import sys

from crashing.points import Point
from crashing.runs import run
from crashing.stack import ground

if __name__ == "__main__":
    scenario = [Point.of(text) for text in sys.argv[1:]]
    with ground() as here:
        found = asyncio.run(run(here, scenario))
    print(f"died at {len(found.deaths)} of {len(scenario)} points")
    for broken in found.broken:
        print(f"invariant {broken.invariant}: {broken.detail}")
    sys.exit(bool(found.broken))
