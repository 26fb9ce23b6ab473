"""The power of a whole stack goes while tasks are submitted: none that was acknowledged is lost, and all of them end."""

import asyncio
import hashlib
import os
import random
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
import pytest

from disks import Disk, disk, end
from product import Product
from remote_claude.runtime.broker.accounts import ADMIN
from remote_claude.runtime.embedded import Home, HomeUse
from remote_claude.runtime.embedded.stack_file import StackFile
from remote_claude.runtime.host import connected
from remote_claude.runtime.purpose import Purpose
from remote_claude.runtime.telemetry.logs_and_metrics import Metrics
from servers import until

pytestmark = [pytest.mark.root, pytest.mark.timeout(3600)]

SEED = int(os.environ.get("RCLAUDE_TEST_SEED", "20261124"))
MARKS = (
    "kek",
    "nats/nats.conf",
    "postgres/password",
    "postgres/data",
    "nats/data/jetstream",
    "run/stack.json",
)
"""What a first start makes, in about this order."""


@dataclass
class Machine:
    """A stack with all of its home on one disk, and what it has acknowledged."""

    disk: Disk
    stack: Product
    tasks: dict[int, str] = field(default_factory=dict)
    """By the position of its admission."""
    blobs: set[str] = field(default_factory=set)

    def lose_power(self, victims: list[psutil.Process]) -> None:
        """Everything stops; whatever was not synced is gone."""
        self.disk.cut()
        end(victims)
        self.disk.unmount()  # what had been started meanwhile has ended with its parent
        self.disk.mount()

    def submit_until_cut(self, random_: random.Random) -> None:
        """Submit tasks and upload files, and lose the power after so many answers."""
        left = [random_.randint(1, 200)]
        cut = asyncio.Event()

        async def work(client: httpx2.AsyncClient, number: int) -> None:
            while not cut.is_set():
                content = random_.randbytes(random_.randint(1, 100_000)) if number == 0 else b""
                sha256 = hashlib.sha256(content).hexdigest()
                task = {"prompt": "nothing", "agent": "noop"}
                with suppress(httpx2.TransportError):  # what was on its way
                    if content:
                        answer = await client.put(f"/v1/blobs/{sha256}", content=content)
                    else:
                        answer = await client.post("/v1/tasks", json=task)
                    if cut.is_set():
                        return
                    assert answer.status_code == httpx2.codes.CREATED, answer.text
                    if content:
                        self.blobs.add(sha256)
                    else:
                        self.tasks[answer.json()["position"]] = answer.json()["id"]
                    left[0] -= 1
                    if not left[0]:
                        cut.set()
                        self.lose_power(self.stack.processes())

        async def all_at_once() -> None:
            with self.stack.client() as known:
                url, headers = known.base_url, known.headers
            async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
                await asyncio.gather(*(work(client, number) for number in range(16)))

        asyncio.run(all_at_once())

    def whole(self) -> None:
        """Every acknowledged task is at its place and ends, every upload is what it was, the log holds together."""
        events = self.stack.events()
        said = {e["position"]: e["task"] for e in events}
        assert {position: said.get(position) for position in self.tasks} == self.tasks
        until(lambda: self.stack.verified()["live"] == 0, "the end of every task", 90, pause=0.2)
        stored = {path.name: path for path in (self.stack.home / "objects").rglob("*") if path.is_file()}
        assert self.blobs <= stored.keys()
        asyncio.run(self.opens(path for name, path in stored.items() if not name.endswith(".new")))

    async def opens(self, paths: Iterable[Path]) -> None:
        """Every object opens under the key of its organisation, and is what its name says."""
        where = StackFile.load(Home.from_env(self.stack.env, HomeUse.COMMAND)).settings(ADMIN)
        async with connected(where, self.stack.env, Metrics("test"), Purpose.LOOK) as runtime:
            for path in paths:
                content = await runtime.objects.get(path.parent.parent.name, path.name)
                assert hashlib.sha256(content).hexdigest() == path.name

    def everything_follows(self) -> None:
        """The archive is that of the log, and every view what a rebuild makes of it."""
        verified = self.stack.admin("log", "verify", "--json")
        assert verified.json["findings"] == [], verified.out
        self.stack.rebuilds_equal()


@contextmanager
def machine() -> Iterator[Machine]:
    with disk() as one:
        stack = Product(one.path / "home", {"RCLAUDE_SCHEDULER_LEASE_S": "5", "RCLAUDE_RUNNER_LEASE_S": "5"})
        try:
            yield Machine(one, stack)
        finally:
            stack.run("down")


def cuts(count: int) -> None:
    random_ = random.Random(SEED)
    with machine() as one:
        one.stack.ok("up", "--detach")
        for _ in range(count):
            one.submit_until_cut(random_)
            one.stack.ok("up", "--detach")
            one.whole()
        one.everything_follows()


@pytest.mark.nightly
def test_no_acknowledged_task_is_lost_in_50_power_cuts() -> None:
    cuts(50)


def cut_in_first_start(mark: str) -> None:
    with machine() as one:
        command = one.stack.command("up")
        starting = subprocess.Popen(command, env=one.stack.env, cwd="/", stdout=subprocess.DEVNULL)
        until((one.stack.home / mark).exists, f"the first start makes {mark}", 60, pause=0.001)
        started = psutil.Process(starting.pid)
        one.lose_power([started, *started.children(recursive=True)])
        starting.wait()
        one.stack.ok("up", "--detach")
        assert one.stack.ended(one.stack.submit("echo fine"))["state"] == "succeeded"
        one.stack.verified()


@pytest.mark.nightly
@pytest.mark.parametrize("mark", MARKS)
def test_a_first_start_is_begun_again_wherever_the_power_goes(mark: str) -> None:
    cut_in_first_start(mark)
