"""What a task costs on a large log against a small one: CPU seconds of broker, PostgreSQL and services, and wall clock.

Two embedded stacks, with 10 organisations and 1,000 finished tasks, and with 1,000 and 1,000,000. `BENCH_TASKS` sets the
large one's tasks, and it has an organisation for each 1,000, at least 10. The past is written as the services wrote it
for one real task: the same events with other ids, at their places, in atomic batches, while the services are down;
they come up on it, all views and the archive catch up, and PostgreSQL tidies up what they wrote, as it does in passing
where tasks come one by one; else its work for the past would count for the tasks measured. Then the same no-op tasks of
one organisation go through the HTTP API of both, 64 in flight, in interleaved runs. The row is CPU a task.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import nats
import psutil
import psycopg
import uvloop
from noop_tasks import load_on
from readings import Reading, at_most

from product import Product, product
from remote_claude.contracts import REGISTRY
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.runtime.archive.restore import append_batch
from remote_claude.runtime.archive.store import Row
from remote_claude.runtime.broker.accounts import ADMIN, accounts
from remote_claude.runtime.embedded import Home, Supervisor, servers_for
from servers import until

SMALL = 1_000, 10
LARGE = int(os.environ.get("BENCH_TASKS", "1000000"))
RUNS, TASKS, IN_FLIGHT = 5, 1_000, 64
BATCH = 990  # events, whole tasks of six
BOUND = 1.1
PATIENCE = 3600.0
VERIFIED = 100_000  # tasks: more take long to verify, and would be no other events
FOUNDING = {"PlanChanged", "PeriodOpened", "OrgCreated", "MemberJoined"}


def measure() -> Iterator[Reading]:
    """CPU a task, then seconds a task."""
    with ExitStack() as stacks:
        sizes = [SMALL, (LARGE, max(10, LARGE // 1000))]
        small, large = (stacks.enter_context(product({"RCLAUDE_RUNNER_SLOTS": "200"})) for _ in sizes)
        for stack, (tasks, organisations) in zip((small, large), sizes, strict=True):
            began = time.monotonic()
            grow(stack, tasks, organisations)
            print(f"{tasks:,} tasks there after {time.monotonic() - began:.0f} s", file=sys.stderr)
        costs: list[tuple[Cost, Cost]] = [(cost(small), cost(large)) for _ in range(RUNS + 1)][1:]
        for stack in (small, large) if LARGE <= VERIFIED else (small,):
            stack.verified()
    where = f"{sizes[1][1]:,} organisations and {LARGE:,} tasks against {SMALL[1]} and {SMALL[0]:,}"
    figures: tuple[tuple[str, str, Callable[[Cost], float]], ...] = (
        ("CPU a task", "ms", lambda cost: cost.cpu),
        ("wall clock a task", "ms", lambda cost: cost.wall),
    )
    for what, unit, read in figures:
        yield at_most(
            BOUND, figure=6, what=f"{what}, {where}", unit=unit,
            value=[read(large) for _, large in costs], limit=[read(small) for small, _ in costs],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one task, in milliseconds."""

    cpu: float
    wall: float


def cost(stack: Product) -> Cost:
    """What the next tasks cost."""
    pids = stack.stack_file()["pids"]
    before = used(pids[name] for name in ("nats", "postgres", "services"))
    seconds = uvloop.run(run(stack))
    after = used(pids[name] for name in ("nats", "postgres", "services"))
    return Cost((after - before) / TASKS * 1000, seconds / TASKS * 1000)


async def run(stack: Product) -> float:
    async with load_on(stack) as load:
        return await load.run(TASKS, IN_FLIGHT)


def used(pids: Iterable[int]) -> float:
    """CPU seconds of these processes, of their children, and of those of their children that have ended."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
        for child in process.children(recursive=True):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def grow(stack: Product, tasks: int, organisations: int) -> None:
    """Give a fresh stack its past, and wait until everything has read it."""
    stack.ok("run", "--agent", "noop", "--no-repo", "nothing")
    stack.ok("down")
    uvloop.run(write(stack.home, tasks, organisations))
    # in the foreground: `--detach` gives up after two minutes, and there is more than that to read
    subprocess.Popen(
        stack.command("up"),
        env=stack.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: caught_up(stack), "everything has read the log", PATIENCE, pause=1.0)
    with psycopg.connect(stack.stack_file()["postgres_dsn"], autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def caught_up(stack: Product) -> bool:
    if not (stack.home / "run" / "stack.json").exists():
        return False
    leads = stack.api("/v1/status").json()["services"]["scheduler"]["leader"]
    return bool(leads) and all(view["lag"] == 0 for view in stack.admin("views", "--json").json)


async def write(home: Path, tasks: int, organisations: int) -> None:
    """Append the past to the broker of a stack that is down."""
    with Home(home) as held:
        servers = servers_for(held, {}, accounts=accounts())
        async with Supervisor(servers.children, log_dir=held.log):
            client = await nats.connect(servers.nats_url, nkeys_seed=str(servers.nats_credentials[ADMIN]))
            async with JetStreamEventLog(client, REGISTRY) as log:
                past = Past([event async for batch in log.read() for event in batch])
            rows: list[Row] = []
            for row in past.rows(tasks, organisations):
                rows.append(row)
                if len(rows) == BATCH:
                    await append_batch(Wire.over(client), rows)
                    rows = []
            if rows:
                await append_batch(Wire.over(client), rows)
            await client.close()


class Past:
    """What a stack has said of its owner's organisation and of one task, to be said of others."""

    def __init__(self, recorded: Sequence[RecordedEvent]) -> None:
        self._position = recorded[-1].position
        [end] = [event for event in recorded if event.type == "TaskSucceeded"]
        self._task = [event for event in recorded if event.correlation_id == end.correlation_id]
        self._organisation = [event for event in recorded if event.type in FOUNDING]
        self._ids = itertools.count(1)
        assert end.position - self._task[0].position == len(self._task) - 1, "others spoke in between"

    def rows(self, tasks: int, organisations: int) -> Iterator[Row]:
        """The owner's organisation and others, then the tasks, of each in turn."""
        own = self._task[0].organisation
        assert own is not None
        orgs = [own, *(f"org_{n:026}" for n in range(1, organisations))]
        for org in orgs[1:]:
            yield from self._again(self._organisation, {own: org})
        for n in range(tasks):
            names = {str(self._task[0].subject): f"task_{n:026}", own: orgs[n % organisations]}
            yield from self._again(self._task, names)

    def _again(self, events: Sequence[RecordedEvent], names: Mapping[str, str]) -> Iterator[Row]:
        """The same events under other names, at the log's next positions."""
        moved = self._position + 1 - events[0].position
        names = {**names, **{event.event_id: str(UUID(int=next(self._ids))) for event in events}}
        for event in events:
            self._position += 1
            headers = event.headers.decode()
            if event.cause is not None:
                headers = headers.replace(
                    f"ce-cause: {event.cause}\r\n", f"ce-cause: {event.cause + moved}\r\n"
                )
            subject, headers, data = (
                functools.reduce(lambda text, name: text.replace(*name), names.items(), text)
                for text in (event.stream, headers, event.data.decode())
            )
            yield Row(self._position, subject, (None, "", ""), headers.encode(), data.encode(), b"")
