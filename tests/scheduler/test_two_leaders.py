"""Two schedulers over one real log, each elected: what keeps decisions right is the guard of each append."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import nats
import pytest

from relay import CuttingRelay
from remote_claude.contracts import REGISTRY
from remote_claude.contracts.scheduler import (
    TaskAssigned,
    TaskCancelled,
    TaskRejected,
    TaskSucceeded,
    TerminalEvent,
)
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.streams import ensure_streams
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.admin.verification import verify
from remote_claude.scheduler.settings import SchedulerSettings
from scheduler_process import Process, SimulatedRunner, count, ended_once, happened, say
from scheduling import UNLIMITED, cancelled, on_plan, submitted
from servers import Broker, empty_nats

TERMINAL = TerminalEvent | TaskRejected
SETTINGS = SchedulerSettings(tick_s=0.05)
QUOTA, TASKS = 15, 60
SPREAD_S = 2.0  # one that has stood down believes to lead again after a fraction of this
LAG_S = 0.02  # how late each of the two reads and is read, at most: so they decide on different things
ORGS = ("org_a", "org_b")


@asynccontextmanager
async def own_log(options: dict[str, Any]) -> AsyncIterator[JetStreamEventLog]:
    """The log as a process of its own has it: its own connection, its own committer."""
    client = await nats.connect(**options)
    await ensure_streams(client)
    async with JetStreamEventLog(client, REGISTRY) as log:
        yield log
    await client.close()


async def round_of(broker: Broker, seed: int) -> tuple[Counter[str], Counter[type]]:
    """Many submissions and cancellations at once at a small quota; how often the two met, and what they decided."""
    chance = random.Random(seed)
    quota = UNLIMITED.model_copy(update={"executions_per_month": QUOTA})
    async with AsyncExitStack() as stack:
        ways = [CuttingRelay(broker.url, lag=lambda: chance.random() * LAG_S) for _ in range(2)]
        urls = [broker.url, *[(await stack.enter_async_context(way)).url for way in ways]]
        log, *others = [
            await stack.enter_async_context(own_log(broker.options | {"servers": url})) for url in urls
        ]
        for org in ORGS:
            await say(log, on_plan("small", quota, org))
        tail = await stack.enter_async_context(Tail(log))
        for other in others:
            await stack.enter_async_context(Process(other, SETTINGS, answering=log).running())
        await stack.enter_async_context(SimulatedRunner(log, slots=4).running())

        async def use(org: str, n: int) -> None:
            task = f"task_{org[-1]}{n}"
            await asyncio.sleep(chance.random() * SPREAD_S)
            await say(log, submitted(task, org))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() / 50)  # so as to meet the task wherever it is by then
                await say(log, cancelled(task, org))

        await asyncio.gather(*(use(org, n) for org in ORGS for n in range(TASKS)))
        decided = await happened(tail, log, count(TERMINAL, len(ORGS) * TASKS))
        report = await verify(log)
        assert not report.violations, f"seed {seed}: {report.summary()}"
        assert (report.tasks, report.live) == (len(ORGS) * TASKS, 0)
        assert ended_once(decided, TERMINAL)
        met = Counter(lost=0, same=0)
        # who decides the same is told that it is decided; who decides otherwise, of a conflict
        for other in others:
            met += Counter(lost=other.stats.conflicts, same=other.stats.landed_before)
        return met, Counter(type(event) for event in decided)


async def rounds(seeds: range) -> None:
    met, kinds = Counter[str](), Counter[type]()
    for seed in seeds:
        with empty_nats() as broker:
            meetings, decided = await round_of(broker, seed)
        met += meetings
        kinds += decided
    print(dict(met), {kind.__name__: n for kind, n in kinds.items()})
    assert met["lost"], "the two never met: this shows nothing"
    assert met.total() > 5 * len(seeds)
    assert min(kinds[kind] for kind in (TaskAssigned, TaskRejected, TaskSucceeded, TaskCancelled)) > 0


@pytest.mark.timeout(120)
async def test_two_that_both_believe_to_lead_overspend_no_quota_and_end_no_task_twice() -> None:
    await rounds(range(3))


@pytest.mark.nightly
async def test_two_that_both_believe_to_lead_many_times() -> None:
    await rounds(range(100, 250))
