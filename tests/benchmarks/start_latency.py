"""How long after its submission a no-op task begins, at 50 a second, open loop, beside Restate and PGQueuer.

Each task is submitted when its time has come, however long those before it take; its delay counts from then. A system says
itself when it began a task (`peers/systems.py`), by the clock that all of them share. Rounds of 10 s are interleaved, the
first second of each left out. The limit of the first row is three guarded appends to a raw broker, one after the other: a
submission, its assignment and its start, and nothing in between.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import uvloop
from bench_eventlog import Raw
from peers.systems import Caller, System, systems
from readings import Reading, at_most

from event_logs import connect, new_place
from servers import running_nats

ROUNDS, RATE, SECONDS, WARM = 3, 50, 10, 1
CALLERS = 200
APPENDS = 300


def measure() -> Iterator[Reading]:
    """Milliseconds: the median against three appends, the p99 against each peer."""
    delays, appends = uvloop.run(_measure())
    ours = delays.pop("ours")
    yield at_most(
        2, figure=2, what=f"submission to start at {RATE}/s, median, against three guarded appends",
        value=[_rank(each, 0.5) for each in ours], limit=appends, unit="ms",
    )  # fmt: skip
    for peer, theirs in delays.items():
        for name, share in (("p99", 0.99), ("median", 0.5)):
            yield at_most(
                figure=2, what=f"submission to start at {RATE}/s, {name}, against {peer}",
                value=[_rank(each, share) for each in ours], limit=[_rank(each, share) for each in theirs], unit="ms",
            )  # fmt: skip


def _rank(delays: list[float], share: float) -> float:
    return sorted(delays)[int(share * len(delays))] * 1000


async def _measure() -> tuple[dict[str, list[list[float]]], list[float]]:
    """Delays by system and round, in seconds; three appends in milliseconds, by round."""
    rounds: defaultdict[str, list[list[tuple[float, Any]]]] = defaultdict(list)
    appends = []
    with running_nats() as broker:
        client = await connect(broker)
        raw = Raw(client, await new_place(broker))
        async with systems() as running:
            for _ in range(ROUNDS):
                appends.append(3 / await raw.rate(APPENDS, 1, 1) * 1000)
                for system in running:
                    rounds[system.name].append(await _round(system))
            found: dict[str, list[list[float]]] = {}
            for system in running:
                found[system.name] = [
                    [
                        start - due
                        for start, (due, _) in zip(
                            await system.started(key for _, key in each), each, strict=True
                        )
                    ]
                    for each in rounds[system.name]
                ]
        await client.close()
    return found, appends


async def _round(system: System) -> list[tuple[float, Any]]:
    """When each task was due, in Unix seconds, and its key for `started`."""
    found: list[tuple[float, Any]] = []
    free: asyncio.Queue[Caller] = asyncio.Queue()

    async def submit(due: float, warm: bool) -> None:
        call = await free.get()
        key = await call()
        free.put_nowait(call)
        if not warm:
            found.append((due, key))

    async with system.callers(CALLERS) as callers:
        for caller in callers:
            free.put_nowait(caller)
        began = time.time()
        async with asyncio.TaskGroup() as group:
            for number in range(RATE * SECONDS):
                due = began + number / RATE
                await asyncio.sleep(due - time.time())
                group.create_task(submit(due, warm=number < RATE * WARM))
    return found
