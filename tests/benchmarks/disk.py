"""What a no-op task takes on disk: broker, PostgreSQL and archive, right after 10,000 of them and once the broker is trimmed.

The home of an embedded stack is measured in blocks, before the tasks and after. "Right after" has what PostgreSQL and the
broker will tidy up by themselves. For "a day later" the log that is archived and older is dropped from the broker
(`rclaude-admin log trim`, as an operator's schedule does), PostgreSQL has vacuumed and has written a checkpoint, and its
write-ahead log, whose files it keeps for reuse, is left out. `BENCH_STORED` sets how many tasks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import uvloop
from noop_tasks import load_on
from readings import Reading, at_most

from product import Product, product

TASKS = int(os.environ.get("BENCH_STORED", "10000"))
GOAL_KB = 8.0
KEPT = 100  # events


def measure() -> Iterator[Reading]:
    """Kilobytes a task: later, then right after."""
    with product({"RCLAUDE_RUNNER_SLOTS": "200"}) as stack:
        uvloop.run(_run(stack, 500))
        _settle(stack)
        before = _sizes(stack.home)
        uvloop.run(_run(stack, TASKS))
        at_once = _sizes(stack.home)
        stack.verified()
        position = stack.api("/v1/tasks", limit=1).json()["as_of"] - KEPT
        _settle(stack)
        exported = stack.home.parent / "exported"
        assert stack.admin("log", "export", str(exported)).code == 0
        stack.ok("down")
        done = stack.admin("log", "trim", "--backed-up", str(exported), "--to", str(position))
        assert done.code == 0, done.err
        later = _sizes(stack.home)
    for what, sizes, without in (
        ("a day later", later, {"write-ahead log"}),
        ("right after", at_once, set[str]()),
    ):
        grown = {part: (sizes[part] - before[part]) / TASKS / 1000 for part in sizes if part not in without}
        print(f"{what}: " + ", ".join(f"{part} {kb:.2f} KB" for part, kb in grown.items()), file=sys.stderr)
        yield at_most(
            figure=14, what=f"disk a no-op task, {what}", value=sum(grown.values()), limit=GOAL_KB, unit="KB"
        )


async def _run(stack: Product, tasks: int) -> None:
    async with load_on(stack) as load:
        await load.run(tasks, 64)


def _settle(stack: Product) -> None:
    with psycopg.connect(stack.stack_file()["postgres_dsn"], autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def _sizes(home: Path) -> dict[str, int]:
    """Bytes of blocks by what they are for."""
    wal = _blocks(home / "postgres" / "pg_wal")
    broker, postgres = _blocks(home / "nats"), _blocks(home / "postgres")
    return {
        "broker": broker,
        "PostgreSQL": postgres - wal,
        "write-ahead log": wal,
        "archive and objects": _blocks(home) - broker - postgres,
    }


def _blocks(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
