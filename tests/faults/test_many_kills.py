"""Many tasks through the API while services, broker and PostgreSQL are killed in turn."""

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import httpx2
import psutil
import pytest

from product import Product, product
from servers import until

ENVIRONMENT = {
    "RCLAUDE_SCHEDULER_LEASE_S": "5",
    "RCLAUDE_RUNNER_LEASE_S": "5",
    "RCLAUDE_RUNNER_SLOTS": "200",
}
ROLES = ("services", "nats", "postgres")
ROOM = {"services": 400 << 20, "nats": 300 << 20, "postgres": 600 << 20}
"""Bytes that a process, PostgreSQL with its children, may take."""
AT_ONCE = 64


class Run:
    """Submits and kills at the same time: every so many answers or seconds.

    `answered` is the id of each key, `peaks` memory by role.
    """

    def __init__(self, stack: Product, count: int, *, answers: int | None, seconds: float | None) -> None:
        self.stack, self.count, self.answers, self.seconds = stack, count, answers, seconds
        self.answered: dict[str, str] = {}
        self.retried = 0
        self.kills: Counter[str] = Counter()
        self.peaks: Counter[str] = Counter()
        self.over = asyncio.Event()

    async def run(self) -> None:
        """Until every submission has been answered."""
        killing = asyncio.create_task(self._kill())
        try:
            await self._submit_all()
        finally:
            self.over.set()
            await killing

    async def _submit_all(self) -> None:
        keys = iter(range(self.count))
        async with self.stack.async_client() as client, asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._submit_some(client, keys))

    async def _submit_some(self, client: httpx2.AsyncClient, keys: Any) -> None:
        for n in keys:
            # A shell now and then, so that sandboxes are among what dies.
            agent = "shell" if n % 50 == 0 else "noop"
            body = {"prompt": f"echo {n}", "agent": agent, "max_attempts": 10}
            self.answered[f"key-{n}"] = await self._submit(client, f"key-{n}", body)

    async def _submit(self, client: httpx2.AsyncClient, key: str, body: dict[str, Any]) -> str:
        async with asyncio.timeout(600):
            while True:
                with suppress(httpx2.TransportError):
                    answer = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": key})
                    if answer.status_code in (201, 202):
                        return str(answer.json()["id"])
                    assert answer.status_code == 503, answer.text
                self.retried += 1
                await asyncio.sleep(0.25)

    async def _kill(self) -> None:
        """One after another; services that do not answer are left to come up."""
        roles, answered = itertools.cycle(ROLES), 0
        for n in itertools.count(1):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._until(n), self.seconds)
            self.measure()
            if self.over.is_set():
                return
            role = next(roles)
            if role == "services" and len(self.answered) == answered:
                role = next(roles)
            answered = len(self.answered)
            pid = self.stack.stack_file()["pids"].get(role)
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills[role] += 1

    async def _until(self, kill: int) -> None:
        """Return when it is time for this kill, by the number of answers, or when all is over."""
        while not self.over.is_set():
            if self.answers is not None and len(self.answered) >= kill * self.answers:
                return
            await asyncio.sleep(0.02)

    def measure(self) -> None:
        """Note the memory of each process, children included."""
        for role in ROLES:
            pid = self.stack.stack_file()["pids"].get(role)
            with suppress(psutil.NoSuchProcess, TypeError):
                process = psutil.Process(pid)
                family = [process, *process.children(recursive=True)] if role == "postgres" else [process]
                self.peaks[role] = max(self.peaks[role], sum(_own(one) for one in family))


def checked(stack: Product, *command: str) -> Any:
    """What a command of the administrator finds, which must be nothing amiss."""
    done = stack.admin(*command, "--json")
    assert done.code == 0, f"{command}: {done.code}\n{done.out}\n{done.err}"
    return done.json


def _own(process: psutil.Process) -> int:
    """What is not shared with others: PostgreSQL's buffers would count once a connection."""
    try:
        memory = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(memory.rss - memory.shared)


@pytest.mark.parametrize(
    ("count", "every"),
    [
        pytest.param(300, {"answers": 40, "seconds": None}, marks=pytest.mark.nightly),
        pytest.param(
            10_000, {"answers": None, "seconds": 5.0}, marks=[pytest.mark.nightly, pytest.mark.timeout(3000)]
        ),
    ],
)
def test_of_many_tasks_under_kills_each_ends_once(count: int, every: Any) -> None:
    with product(ENVIRONMENT) as stack:
        run, began = Run(stack, count, **every), time.monotonic()
        asyncio.run(run.run())
        answered = time.monotonic() - began
        assert len(set(run.answered.values())) == count

        def ended() -> bool:
            done = stack.admin("verify", "--json")  # which fails while the last one killed is on its way up
            return done.code == 0 and done.json["live"] == 0 and stack.run("status").code == 0

        until(ended, "the end of every task", 600, pause=2)
        ended_after = time.monotonic() - began
        run.measure()
        report = stack.verified()
        assert (report["tasks"], report["live"]) == (count, 0)
        ends = Counter(
            event["task"] for event in stack.events("--subject", "ev.scheduler.>") if event["type"] in ENDS
        )
        assert ends == dict.fromkeys(run.answered.values(), 1)
        stack.rebuilds_equal()
        assert checked(stack, "log", "verify")["findings"] == []
        peaks = {role: f"{run.peaks[role] >> 20} MiB" for role in ROLES}
        print(
            f"{count} tasks answered after {answered:.0f} s, ended after {ended_after:.0f} s, "
            f"killed {dict(run.kills)}, {run.retried} retries, peak memory {peaks}"
        )
        assert all(run.peaks[role] < ROOM[role] for role in ROLES), peaks
        assert sum(run.kills.values()) >= 3


ENDS = {"TaskSucceeded", "TaskFailed", "TaskCancelled", "TaskTimedOut"}
