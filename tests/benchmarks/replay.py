"""A log of 1,000,000 `UsageRecorded` into the empty usage view and every organisation's bill, against the raw ordered read.

The log: 100 organisations with plan and period, 10,000 attempts of which 500 run at a time, 100 samples each. Replay is what
`rclaude-admin rebuild billing_usage` does where there is no view yet (read, decode, fold, store), and then each
organisation's bill is rated. The raw ordered read is nats-py's own ordered consumer with a callback that counts, which is
what anybody reads a stream in order with. The second row has a limit that no reader can reach: a pull loop on one
connection whose frames are dropped behind the parser, before they are messages. Runs are interleaved. `BENCH_EVENTS` makes
it smaller. Other views are not in it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Coroutine, Iterator
from typing import Any
from uuid import UUID

from bench_eventlog import Raw
from nats.aio.msg import Msg
from psycopg_pool import AsyncConnectionPool
from readings import Reading, at_least

from event_examples import WINDOW
from event_logs import Place, connect
from remote_claude.billing.domain.plans import builtin
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts import REGISTRY, Event
from remote_claude.contracts.billing import PeriodOpened, PlanChanged
from remote_claude.contracts.runner import Cumulative, ModelUse, TaskStarted, UsageRecorded
from remote_claude.eventsourcing.events import NewEvent, stream_id
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.streams import ensure_streams
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.runtime import host
from servers import Broker, running_nats, running_postgres

EVENTS = int(os.environ.get("BENCH_EVENTS", "1000000"))
ORGS, RUNNING, SAMPLES, RUNS = 100, 500, 100, 3  # RUNNING attempts at a time, each with SAMPLES of its use
MONTH = "2026-11"


def measure() -> Iterator[Reading]:
    """Events a second, everything included: reading, decoding, folding, storing, comparing nothing, rating."""
    yield from host.run(_measure())


async def _measure() -> list[Reading]:
    with running_nats() as broker, running_postgres() as server, server.fresh() as dsn:
        client = await connect(broker)
        await ensure_streams(client)
        async with (
            JetStreamEventLog(client, REGISTRY) as log,
            AsyncConnectionPool(dsn, min_size=1, max_size=4, open=False) as pool,
        ):
            if await log.last_position() == 0:  # RCLAUDE_NATS_URL may lead to one that was filled before
                await _fill(log)
            end = await log.last_position()
            broker_alone = Raw(client, Place(broker, "EVENTS", "ev"))
            ordered, frames, ours = [], [], []
            for _ in range(RUNS):
                ordered.append(end / await _seconds(_ordered_read(broker, end)))
                frames.append(await broker_alone.read(end))
                ours.append(end / await _seconds(_replay(log, pool)))
        await client.close()
    what = f"replay of {end:,} events into the usage view and {ORGS} bills, against"
    return [
        at_least(0.6, figure=5, what=f"{what} {name}", value=ours, limit=limit, unit="events/s")
        for name, limit in (("the raw ordered read", ordered), ("frames that are dropped", frames))
    ]


async def _seconds(work: Coroutine[Any, Any, object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def _ordered_read(broker: Broker, events: int) -> None:
    """Everything by nats-py's ordered consumer."""
    client = await connect(broker)
    seen, done = 0, asyncio.Event()

    async def count(_: Msg) -> None:
        nonlocal seen
        seen += 1
        if seen == events:
            done.set()

    await client.jetstream().subscribe("ev.>", cb=count, ordered_consumer=True)
    await done.wait()
    await client.close()


async def _replay(log: JetStreamEventLog, pool: Pool) -> None:
    """What `rclaude-admin rebuild` does where there is nothing yet, and then the bills."""
    async with pool.connection() as connection:
        await connection.execute("DROP SCHEMA IF EXISTS billing_usage CASCADE")
    await rebuild(UsageView(), pool, log)
    async with pool.connection() as connection:
        for org in map(_org, range(ORGS)):
            bill = await bills.period_bill(connection, org, MONTH)
            assert bill is not None
            assert bill.total_nano > 0


def _org(number: int) -> str:
    return f"org_{number:026}"


async def _fill(log: JetStreamEventLog) -> None:
    """Plans and periods, then attempts that say what they use, as many at a time as would run."""
    ids = itertools.count(1)
    plan = builtin().plans["self-hosted"]

    async def say(stream: str, *events: Event, after: int = 0) -> int:
        new = [
            NewEvent(
                event=event, event_id=str(UUID(int=next(ids))), occurred_at=f"{MONTH}-10T00:00:00.000000Z"
            )
            for event in events
        ]
        return await log.append(stream, new, expected_position=after)

    for org in map(_org, range(ORGS)):
        changed = PlanChanged(org=org, plan=plan.plan, entitlements=plan.entitlements)
        opened = PeriodOpened(
            org=org,
            period=MONTH,
            starts_at=f"{MONTH}-01T00:00:00.000000Z",
            ends_at="2026-12-01T00:00:00.000000Z",
            plan=plan.plan,
            plan_version=plan.version,
            customer=org,
            price_book=plan.price_book,
        )
        await say(stream_id("billing", org, "account", org), changed, opened)
    attempts = itertools.count()

    async def run() -> None:
        for number in iter(lambda: next(attempts), None):
            if number * SAMPLES >= EVENTS:
                return
            who: dict[str, Any] = {
                "org": _org(number % ORGS),
                "task": f"task_{number:026}",
                "attempt": 1,
                "runner": "run_1",
            }
            stream = stream_id("runner", who["org"], "attempt", f"{who['task']}-1")
            position = await say(stream, TaskStarted(**who))
            for sequence in range(1, SAMPLES + 1):
                use = ModelUse(
                    provider="anthropic",
                    model="claude-sonnet-4-5",
                    calls=sequence,
                    quantities={"input": 1000 * sequence, "output": 100 * sequence},
                )
                used = Cumulative(
                    vcpu_ms=10_000 * sequence,
                    gib_ms=20_000 * sequence,
                    model_use=(use,),
                    model_nano_usd=4_500_000 * sequence,
                )
                sample = UsageRecorded(**who, sequence=sequence, cumulative=used, **WINDOW)
                position = await say(stream, sample, after=position)

    await asyncio.gather(*(run() for _ in range(RUNNING)))
