"""How long a standby takes. `PYTHONPATH=tests python tests/benchmarks/take_over.py [ROUNDS]`.

Real processes, side by side: from the moment that one is killed or frozen until a task that is submitted then has been
decided, or is visible at the standby. The lease is the one of the tests, three seconds; a view's is as shipped.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import httpx2

from servers import nats_with_accounts, running_postgres, until
from service_pairs import LEASE_S, SETTINGS, Fault, Pairs, back, frozen, killed, post
from service_processes import ServiceProcess, installation


def decided(pairs: Pairs, _: ServiceProcess) -> None:
    """Until a new task has been admitted."""
    with pairs.apart.http(pairs.gateways[0]) as http:
        until(
            lambda: post(http, f"d-{time.monotonic_ns()}").status_code == httpx2.codes.CREATED, "a decision"
        )


def visible(pairs: Pairs, standby: ServiceProcess) -> None:
    """Until a new task is in the list of the standby."""
    with pairs.apart.http(standby) as http:
        task = post(http, f"v-{time.monotonic_ns()}").json()["id"]
        until(lambda: task in {t["id"] for t in http.get("/v1/tasks").json()["tasks"]}, "it is listed", 60)


def times(
    pairs: Pairs,
    pair: list[ServiceProcess],
    has_it: Callable[[ServiceProcess], bool],
    happens: Fault,
    over: Callable[[Pairs, ServiceProcess], None],
    rounds: int,
) -> list[float]:
    taken = []
    for _ in range(rounds):
        holder, standby = pairs.split(pair, has_it)
        began = time.monotonic()
        happens(holder)
        over(pairs, standby)
        taken.append(time.monotonic() - began)
        back(holder)
    return taken


def main(rounds: int) -> None:
    with (
        TemporaryDirectory(prefix="rclaude-bench-") as folder,
        running_postgres() as postgres,
        postgres.fresh() as dsn,
        nats_with_accounts() as as_user,
        installation(as_user, dsn, Path(folder), **SETTINGS) as apart,
    ):
        pairs = Pairs(apart)
        applies = pairs.applies_view("gateway_tasks")
        for what, pair, has_it, over in (
            (f"scheduler, lease {LEASE_S} s", pairs.schedulers, pairs.leads, decided),
            ("gateway's view", pairs.gateways, applies, visible),
        ):
            for happens in (killed, frozen):
                taken = times(pairs, pair, has_it, happens, over, rounds)
                spread = f"{min(taken):.1f} to {max(taken):.1f}"
                print(
                    f"{what}, {happens.__name__}: {median(taken):.1f} s ({spread}, {rounds} rounds)",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
