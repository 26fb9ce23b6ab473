"""How long bills, usage and lists take where a month has a million tasks, and what `/healthz` waits meanwhile.

The tables of the views are filled in PostgreSQL itself: what is measured is the answer, not the fold. 500 people, 1,000
repositories, 200 labels, 4 agents, 28 days; one task in 5,000 has egress and an agent of its own. Each path is asked 30 times
over HTTP, lists of tasks through the gateway's query, while `/healthz` is asked every 5 ms. The rows are medians, with
their range, against a fixed 100 ms, and the p99 of `/healthz` against the same. `BENCH_TASKS` makes it smaller.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import uvloop
from readings import Reading, Runs, at_most

from identity_stack import Installation, installed
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.service import build
from remote_claude.gateway.projections.queries import Filter, TaskQueries
from servers import running_nats, running_postgres

TASKS = int(os.environ.get("BENCH_TASKS", "1000000"))
RUNS, GOAL_MS = 30, 100.0

FILL = """
SET synchronous_commit = off;
CREATE TEMP TABLE made AS SELECT n, 'task_' || lpad(n::text, 26, '0') AS task,
    'user_' || n % 500 AS person, 'repository_' || n % 1000 AS repository, 'team=' || n % 200 AS label,
    CASE WHEN n % 5000 = 0 THEN 'rare' ELSE 'agent_' || n % 4 END AS agent,
    to_char('{day}'::date + n % 28, 'YYYY-MM-DD') AS day, (n % 1000) * 1000::bigint AS cost,
    CASE WHEN n % 5000 = 0 THEN 7 END AS egress
  FROM generate_series(1, {tasks}) n;
INSERT INTO billing_usage.task (org, task, person, agent, repository, labels, period)
  SELECT '{org}', task, person, agent, repository, jsonb_build_object('team', n % 200), '{period}' FROM made;
INSERT INTO billing_usage.execution (org, task, period, segment, generation, day, event_id, position)
  SELECT '{org}', task, '{period}', 0, 0, day, 'e' || n, n FROM made;
INSERT INTO billing_usage.usage (org, task, attempt, period, segment, generation, day, sequence, cumulative, metered,
    written_off, meters, event_id, position)
  SELECT '{org}', task, 1, '{period}', 0, 0, day, 1, '{{}}',
    jsonb_strip_nulls(jsonb_build_object('vcpu_ms', 1001, 'gib_ms', 500, 'model_nano_usd', cost, 'egress_bytes', egress)),
    '{{}}', array_remove(ARRAY['vcpu_ms', 'gib_ms', 'model_nano_usd', CASE WHEN egress > 0 THEN 'egress_bytes' END], NULL),
    'u' || n, {tasks} + n FROM made;
CREATE TEMP TABLE used AS SELECT made.*, m.key, m.quantity FROM made, LATERAL (VALUES
    ('executions', 1::numeric), ('vcpu_ms', 1001), ('gib_ms', 500), ('model_nano_usd', cost), ('egress_bytes', egress)
  ) AS m (key, quantity) WHERE m.quantity IS NOT NULL;
INSERT INTO billing_usage.total (org, period, generation, segment, day, key, metered, written_off, events)
  SELECT '{org}', '{period}', 0, 0, day, key, sum(quantity), 0, count(*) FROM used GROUP BY day, key ON CONFLICT DO NOTHING;
INSERT INTO billing_usage.group_day (org, dimension, day, name, period, executions, vcpu_ms, gib_ms, egress_bytes,
    storage_byte_days, model_nano_usd, model_tokens, customer_model_nano_usd, customer_model_tokens)
  SELECT '{org}', d.dimension, day, d.name, '{period}', count(*), 1001 * count(*), 500 * count(*),
    coalesce(sum(egress), 0), 0, sum(cost), 0, 0, 0 FROM made, LATERAL (VALUES
    ('person', person), ('repository', 'repository_' || (n / 28) % 1000), ('label', label), ('agent', agent)
  ) AS d (dimension, name) GROUP BY d.dimension, day, d.name;
INSERT INTO billing_usage.task_use (org, task, day, model_nano_usd, quantities)
  SELECT '{org}', task, day, cost, jsonb_strip_nulls(
    jsonb_build_object('executions', 1, 'vcpu_ms', 1001, 'gib_ms', 500, 'model_nano_usd', cost, 'egress_bytes', egress))
  FROM made;
INSERT INTO gateway_tasks.task (task, org, position, state, attempt, changed, attempts)
  SELECT task, '{org}', n, CASE WHEN n % 5000 = 1 THEN 'failed' ELSE 'succeeded' END, 1, n, '[]' FROM made;
INSERT INTO gateway_tasks.submission (task, org, position, submitted_by, submitted_at, agent, prompt, max_attempts, priority)
  SELECT task, '{org}', n, person, day, agent, '{{"key": "k", "box": "b"}}', 3, 0 FROM made;
INSERT INTO users_audit.entry (position, org, at, action, details)
  SELECT 1000000 + n, CASE WHEN n % 100 = 0 THEN '{org}' ELSE 'org_other' END, day, 'PlanChanged', '{{}}' FROM made;
VACUUM ANALYZE;
CHECKPOINT;
"""
PATHS = (
    "/v1/bill",
    "/v1/usage",
    "/v1/usage/budget",
    "/v1/bill/events?meter=vcpu_ms",
    "/v1/bill/events?meter=vcpu_ms&after={late}",
    "/v1/bill/events?meter=egress_bytes",
    "/v1/bill/events?meter=model_tokens",
    *(
        f"/v1/usage/by/{by}?last=3660"
        for by in ("day", "person", "repository", "label", "model", "agent", "task")
    ),
    "/v1/usage/by/task?last=3660&limit=1000&after=500000.task_1",
    "/v1/tasks/{task}/bill",
    "/v1/org/audit?limit=200",
)
LISTS = {
    "all": Filter(),
    "a rare agent": Filter(agent="rare"),
    "one person": Filter(submitted_by="user_7"),
    "a rare state": Filter(states=("failed", "running")),
    "a rare state of one agent": Filter(states=("failed",), agent="agent_1"),
}


def measure() -> Iterator[Reading]:
    """Milliseconds: the slowest path's median, then each path's, then the p99 of `/healthz`."""
    found, health = uvloop.run(run())
    yield reading("the slowest of the answers below", max(found.values(), key=statistics.median))
    for what, times in found.items():
        yield reading(what, times)
    yield reading("/healthz meanwhile, p99", statistics.quantiles(health, n=100, method="inclusive")[98])


def reading(what: str, times: Runs) -> Reading:
    name = f"{what}, {TASKS:,} tasks in a month"
    return at_most(figure="bills", what=name, value=times, limit=GOAL_MS, unit="ms")


async def run() -> tuple[dict[str, list[float]], list[float]]:
    """The times of each path, and of `/healthz`."""
    with (
        running_nats() as broker,
        running_postgres() as server,
        server.fresh() as dsn,
        tempfile.TemporaryDirectory() as folder,
    ):
        async with installed(broker, dsn, Path(folder), more=[build]) as installation:
            began = time.perf_counter()
            await fill(installation, dsn)
            print(f"{TASKS:,} tasks filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            done, health = asyncio.Event(), list[float]()
            watching = asyncio.create_task(watch(installation.client(), done, health))
            found = {what: await timed(ask) for what, ask in asked(installation).items()}
            done.set()
            await watching
            return found, health


def asked(installation: Installation) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What is measured, by its name."""
    api, runtime = installation.by_key, installation.host.runtime
    queries = TaskQueries(runtime.pool, runtime.tail, lambda: runtime.projectors["gateway_tasks"], 10)
    found: dict[str, Callable[[], Awaitable[Any]]] = {}

    async def get(path: str) -> None:
        answer = await api.get(path, timeout=120)
        assert answer.is_success, answer.text

    async def page(shown: Filter) -> None:
        await queries.page(installation.owner.org, shown, 50, None)

    for path in PATHS:
        path = path.format(late=TASKS + TASKS // 2, task=f"task_{TASKS // 2:026}")
        found[path] = lambda path=path: get(path)  # type: ignore[misc]  # mypy knows no default of a lambda
    for what, shown in LISTS.items():
        found[f"list of tasks: {what}"] = lambda shown=shown: page(shown)  # type: ignore[misc]  # as above
    return found


async def fill(installation: Installation, dsn: str) -> None:
    """So many tasks of the owner's organisation in the present month."""
    runtime, org = installation.host.runtime, installation.owner.org
    position = await Accounts(runtime.log, runtime.clock).set_plan(org, "enterprise")
    await runtime.projectors["billing_usage"].wait_for(position, 30)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        found = await connection.execute(
            b"SELECT period, starts_at FROM billing_usage.period WHERE org = %s", [org]
        )
        row = await found.fetchone()
        assert row is not None
        for statement in FILL.format(org=org, period=row[0], day=row[1][:10], tasks=TASKS).split(";\n"):
            if statement.strip():
                await connection.execute(statement.encode())


async def watch(client: httpx2.AsyncClient, until: asyncio.Event, times: list[float]) -> None:
    """Ask `/healthz` again and again."""
    while not until.is_set():
        began = time.perf_counter()
        await client.get("/healthz")
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.005)


async def timed(ask: Callable[[], Awaitable[Any]]) -> list[float]:
    """Milliseconds of each time."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        await ask()
        times.append((time.perf_counter() - began) * 1000)
    return times


if __name__ == "__main__":
    for measured in measure():
        print(f"{measured.what}: {measured.value:.0f} {measured.unit}")
