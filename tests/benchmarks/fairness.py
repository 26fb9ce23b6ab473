"""How long the tasks of nine organisations take beside a tenth that queues 10,000 at once, against what they take alone.

The nine send a no-op task a second each, open loop, for 20 s, and wait for its end by the request that submits it. All ten
are on the same plan. Their p99 beside the tenth's queue is held against their p99 on the same stack before; Jain's index is
over the nine's mean delays (1: all wait alike). `BENCH_QUEUED` makes the queue another length.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from statistics import mean
from typing import Any
from urllib.parse import urlsplit

import uvloop
from noop_tasks import BODY, Http, owner_key
from readings import Reading, at_least, at_most

from product import Product, product

QUEUED = int(os.environ.get("BENCH_QUEUED", "10000"))
OTHERS, SECONDS, SUBMITTERS = 9, 20, 64
OWNERS_PLAN = "self-hosted"
FLOODING = min(300, QUEUED // 2)
"""So many submissions of the tenth make a queue."""
LANES = 4
"""Connections of each of the nine, so that a late answer delays no later submission."""


def measure() -> Iterator[Reading]:
    """The nine's p99 in milliseconds, then the index."""
    with product({"RCLAUDE_RUNNER_SLOTS": "64"}) as stack:
        keys = [_key(stack, f"Organisation {number}") for number in range(OTHERS)]
        for org, _ in keys:
            assert stack.admin("plan", "set", org, OWNERS_PLAN).code == 0
        alone, beside = uvloop.run(_measure(stack, [key for _, key in keys]))
        stack.verified()
    yield at_most(
        1.5, figure=8, what=f"p99 of {OTHERS} organisations' tasks beside {QUEUED:,} queued by a tenth",
        value=_p99(beside), limit=_p99(alone), unit="ms",
    )  # fmt: skip
    yield at_least(
        0.99, figure=8, what="Jain's index of their mean delays", value=_jain([mean(each) for each in beside]),
        limit=1.0, unit="",
    )  # fmt: skip


def _key(stack: Product, name: str) -> tuple[str, str]:
    """A new organisation and a key of its founder."""
    org, user = stack.admin("org", "create", name).out.split()
    return org, stack.admin("key", "issue", org, user).out.split()[1]


def _p99(delays: list[list[float]]) -> float:
    every = sorted(delay for each in delays for delay in each)
    return every[int(0.99 * len(every))] * 1000


def _jain(values: list[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


async def _measure(stack: Product, keys: list[str]) -> tuple[list[list[float]], list[list[float]]]:
    parts = urlsplit(stack.stack_file()["url"])
    address = parts.hostname or "", parts.port or 80
    await _nine(address, keys, 3)  # warm
    alone = await _nine(address, keys, SECONDS)
    flooding = asyncio.Event()
    queued = asyncio.create_task(_queue(address, owner_key(stack), flooding))
    await flooding.wait()
    beside = await _nine(address, keys, SECONDS)
    await queued
    return alone, beside


async def _queue(address: tuple[str, int], key: str, flooding: asyncio.Event) -> None:
    """The tenth's tasks, handed over as fast as they are taken; `flooding` is set once there is a queue."""
    numbers = iter(range(QUEUED))

    async def submit() -> None:
        client = Http(*address)
        await client.open()
        for number in numbers:
            await client.ask("POST", "/v1/tasks", key, BODY)
            if number >= FLOODING:
                flooding.set()
        client.close()

    await asyncio.gather(*(submit() for _ in range(SUBMITTERS)))


async def _nine(address: tuple[str, int], keys: list[str], seconds: int) -> list[list[float]]:
    return await asyncio.gather(*(_one(address, key, n / len(keys), seconds) for n, key in enumerate(keys)))


async def _one(address: tuple[str, int], key: str, offset: float, seconds: int) -> list[float]:
    """The delays of an organisation that submits a task a second, each from when it was due."""
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(LANES):
        client = Http(*address)
        await client.open()
        free.put_nowait(client)
    delays: list[float] = []

    async def submit(due: float) -> None:
        client = await free.get()
        answer = await client.ask("POST", "/v1/tasks?wait=30", key, BODY)
        assert answer["state"] == "succeeded", answer
        delays.append(time.perf_counter() - due)
        free.put_nowait(client)

    began = time.perf_counter() + offset
    async with asyncio.TaskGroup() as group:
        for number in range(seconds):
            await asyncio.sleep(began + number - time.perf_counter())
            group.create_task(submit(began + number))
    while not free.empty():
        free.get_nowait().close()
    return delays
