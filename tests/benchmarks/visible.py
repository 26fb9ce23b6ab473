"""How long after the append of an event begins a read finds it in a view, at 1,000 events a second, open loop.

An embedded stack runs with all its views and the archive. Another process appends `UsageRecorded` of 500 attempts that
have run there, each when its time has come, however long the ones before it take. PostgreSQL tells it of every commit
of a view (as it tells standbys); an event is visible in a view with the first commit that reaches its position. The row
is the p99 of the slowest view that holds usage, over 20 s, the first two of which are left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import uvloop
from noop_tasks import load_on, log_of
from psycopg import AsyncConnection
from readings import Reading, at_most

from event_examples import WINDOW
from product import Product, product
from remote_claude.contracts.runner import Cumulative, UsageRecorded
from remote_claude.eventsourcing.events import NewEvent, new_event_id
from remote_claude.eventsourcing.jetstream import JetStreamEventLog

ATTEMPTS, RATE, SECONDS, WARM = 500, 1000, 20, 2
VIEWS = ("gateway_tasks", "billing_usage")
GOAL_MS = 50.0


def measure() -> Iterator[Reading]:
    """Milliseconds: the slowest view's p99, then each view's."""
    with product({"RCLAUDE_RUNNER_SLOTS": "1000"}) as stack:
        found = uvloop.run(latencies(stack))
    yield reading("the slowest view", max(p99(each) for each in found.values()))
    for view, each in found.items():
        yield reading(view, p99(each))


def reading(where: str, value: float) -> Reading:
    what = f"event appended to visible in {where}, p99 at {RATE:,} events/s"
    return at_most(figure=11, what=what, value=value, limit=GOAL_MS, unit="ms")


def p99(latencies: list[float]) -> float:
    return sorted(latencies)[int(0.99 * len(latencies))] * 1000


async def latencies(stack: Product) -> dict[str, list[float]]:
    """By view, of every event: seconds from when its append was due."""
    async with load_on(stack) as load:
        await load.run(ATTEMPTS, 64)
    async with log_of(stack, "services") as log:
        attempts = await finished(log)
        due: dict[int, float] = {}
        seen: dict[str, list[tuple[int, float]]] = {view: [] for view in VIEWS}
        listening = [
            asyncio.create_task(listen(stack.stack_file()["postgres_dsn"], view, seen[view]))
            for view in VIEWS
        ]
        await asyncio.sleep(0.5)  # until they listen; the warm-up would hide it if not
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for n, attempt in enumerate(attempts):
                group.create_task(sample(log, attempt, began + n / RATE, due))
        last = max(due)
        async with asyncio.timeout(60):
            while any(not each or each[-1][0] < last for each in seen.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for task in listening:
            task.cancel()
    return {view: delays(due, each, began + WARM) for view, each in seen.items()}


Attempt = tuple[str, UsageRecorded, int]
"""Its stream, what its next sample begins with, its last position."""


async def finished(log: JetStreamEventLog) -> list[Attempt]:
    found: list[Attempt] = []
    async for batch in log.read():
        for event in batch:
            if event.type == "AttemptFinished":
                said = event.event
                who = {"task": said.task, "org": said.org, "attempt": said.attempt, "runner": said.runner}
                first = UsageRecorded(**who, sequence=0, cumulative=Cumulative(), **WINDOW)
                found.append((event.stream, first, event.position))
    return found


async def sample(log: JetStreamEventLog, attempt: Attempt, first: float, due: dict[int, float]) -> None:
    """One attempt's samples, each at its time."""
    stream, said, position = attempt
    every = ATTEMPTS / RATE
    for n in range(1, int(SECONDS / every) + 1):
        at = first + (n - 1) * every
        await asyncio.sleep(at - time.perf_counter())
        used = Cumulative(vcpu_ms=1000 * n, gib_ms=2000 * n)
        event = said.model_copy(update={"sequence": n, "cumulative": used})
        new = NewEvent(
            event=event, event_id=new_event_id(), occurred_at="2026-11-10T00:00:00.000000Z", subject=said.task
        )
        position = await log.append(stream, [new], expected_position=position)
        due[position] = at


async def listen(dsn: str, view: str, seen: list[tuple[int, float]]) -> None:
    """Note when the view has reached which position."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(f'LISTEN "{view}"'.encode())
        async for notification in connection.notifies():
            seen.append((int(notification.payload), time.perf_counter()))  # noqa: PERF401 - read while it grows


def delays(due: dict[int, float], seen: list[tuple[int, float]], since: float) -> list[float]:
    found: list[float] = []
    commits = iter(seen)
    reached, at = next(commits)
    for position in sorted(due):
        while reached < position:
            reached, at = next(commits)
        if due[position] >= since:
            found.append(at - due[position])
    return found
