"""How long bills and usage take when a month has a million tasks, and whether `/healthz` waits for them.

    PYTHONPATH=tests python tests/benchmarks/bills.py [TASKS]

The view's tables are filled in PostgreSQL itself: what is measured is the answer, not the fold.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import httpx2
import psycopg

from identity_stack import Installation, installed
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.service import build
from servers import running_nats, running_postgres

GOAL_MS = 100
FILL = """
INSERT INTO {schema}.task SELECT '{org}', 'task_' || n, 'person', 'noop', NULL, '{{}}', '{period}', '{day}'
  FROM generate_series(1, {tasks}) n;
INSERT INTO {schema}.execution SELECT '{org}', 'task_' || n, '{period}', 0, 0, '{day}', 'e' || n, n
  FROM generate_series(1, {tasks}) n;
INSERT INTO {schema}.usage SELECT '{org}', 'task_' || n, 1, '{period}', 0, 0, '{day}', 1, '{{}}',
  '{{"vcpu_ms": 1001, "gib_ms": 500}}', '{{}}', 'u' || n, {tasks} + n FROM generate_series(1, {tasks}) n;
INSERT INTO {schema}.total VALUES
  ('{org}', '{period}', 0, 0, 'executions', {tasks}, 0, {tasks}),
  ('{org}', '{period}', 0, 0, 'vcpu_ms', {tasks} * 1001::numeric, 0, {tasks}),
  ('{org}', '{period}', 0, 0, 'gib_ms', {tasks} * 500::numeric, 0, {tasks})
  ON CONFLICT DO NOTHING;
ANALYZE {schema}.task; ANALYZE {schema}.execution; ANALYZE {schema}.usage;
"""


async def fill(installation: Installation, dsn: str, tasks: int) -> None:
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
        filled = FILL.format(schema="billing_usage", org=org, period=row[0], day=row[1][:10], tasks=tasks)
        await connection.execute(filled.encode())


async def health(client: httpx2.AsyncClient, until: asyncio.Event) -> float:
    """The longest answer of `/healthz` in milliseconds, asked again and again."""
    longest = 0.0
    while not until.is_set():
        began = time.perf_counter()
        await client.get("/healthz")
        longest = max(longest, time.perf_counter() - began)
        await asyncio.sleep(0.005)
    return longest * 1000


async def measure(installation: Installation, path: str) -> None:
    """The median of five answers, and the longest of `/healthz` meanwhile."""
    api, done = installation.by_key, asyncio.Event()
    watching = asyncio.create_task(health(installation.client(), done))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        answer = await api.get(path, timeout=120)
        times.append((time.perf_counter() - began) * 1000)
        assert answer.is_success, answer.text
    done.set()
    print(
        f"{path}: {sorted(times)[2]:.0f} ms (goal {GOAL_MS}), /healthz at most {await watching:.0f} ms",
        flush=True,
    )


async def main(tasks: int) -> None:
    with (
        running_nats() as broker,
        running_postgres() as server,
        server.fresh() as dsn,
        tempfile.TemporaryDirectory() as folder,
    ):
        async with installed(broker, dsn, Path(folder), more=[build]) as installation:
            began = time.perf_counter()
            await fill(installation, dsn, tasks)
            print(f"{tasks:,} tasks filled in {time.perf_counter() - began:.0f} s", flush=True)
            for path in (
                "/v1/bill",
                "/v1/usage",
                "/v1/bill/events?meter=vcpu_ms",
                f"/v1/bill/events?meter=vcpu_ms&after={tasks + tasks // 2}",
                "/v1/bill/events?meter=egress_bytes",
                "/v1/usage/by/day",
                "/v1/usage/by/task",
            ):
                await measure(installation, path)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
