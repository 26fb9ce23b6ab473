"""Replay seeds: `python -m simulator SEED` prints all that happens in one, and what does not hold; `--log` its log."""

from __future__ import annotations

import argparse
import sys
import time

from simulator.report import summary
from simulator.world import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulator", description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--log", action="store_true", help="print the log instead, byte for byte")
    arguments = parser.parse_args()
    broken = False
    for seed in arguments.seeds:
        began = time.process_time()
        outcome = simulate(seed)
        broken |= bool(outcome.broken)
        if arguments.log:
            sys.stdout.buffer.write(outcome.log)
            continue
        if len(arguments.seeds) == 1:
            print("\n".join(outcome.trace))
        print(summary(outcome), f"in {time.process_time() - began:.2f} s")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
