"""A disk is full: what can't be kept is refused and says so, nothing acknowledged is lost, and room is all it takes."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psutil
import pytest

from disks import Disk, disk
from product import Product
from servers import until

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NOOP = {"prompt": "nothing", "agent": "noop"}
MIB = 1024 * 1024


@dataclass
class Stack:
    """A stack that has broker, database, objects and the file that says where it is on small disks of their own."""

    product: Product
    disks: dict[str, Disk]
    acknowledged: list[str] = field(default_factory=list)

    def submit(self) -> httpx2.Response:
        with self.product.client() as client:
            answer = client.post("/v1/tasks", json=NOOP)
        if answer.status_code == httpx2.codes.CREATED:
            self.acknowledged.append(answer.json()["id"])
        return answer

    def whole(self) -> None:
        """What was acknowledged is in the log, and has ended."""
        until(lambda: bool(self.product.verified()["live"] == 0), "the end of every task", 60, pause=0.2)
        submitted = {e["task"] for e in self.product.events("--type", "TaskSubmitted")}
        assert set(self.acknowledged) <= submitted

    def views(self) -> dict[str, Any]:
        services = self.product.api("/v1/status").json()["services"]
        return {name: view for service in services.values() for name, view in service["views"].items()}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with disk(128) as broker, disk(320) as database, disk(64) as objects, disk(16) as run:
        disks = {"nats": broker, "postgres": database, "objects": objects, "run": run}
        product = Product(broker.path.parent / "home")
        product.home.mkdir(mode=0o711)
        for name, one in disks.items():
            (one.path / name).mkdir(mode=0o711)
            (product.home / name).symlink_to(one.path / name)
        try:
            product.ok("up", "--detach")
            yield Stack(product, disks)
        finally:
            product.run("down")


def test_a_full_disk_of_the_broker_stops_the_log_and_room_starts_it_again(stack: Stack) -> None:
    for _ in range(5):
        assert stack.submit().status_code == httpx2.codes.CREATED
    pids = stack.product.stack_file()["pids"]
    before = psutil.Process(pids["services"]).memory_info().rss
    filler = stack.disks["nats"].fill()
    refused: list[httpx2.Response] = []

    def is_refused() -> bool:
        refused.append(stack.submit())
        return refused[-1].status_code == httpx2.codes.SERVICE_UNAVAILABLE

    until(is_refused, "a refusal", 60)
    assert refused[-1].json()["code"] == "log_unavailable"
    assert "rclaude status" in refused[-1].json()["detail"]
    until(lambda: bool(stack.product.status()["log"]["reason"]), "what is wrong is said", 60, pause=0.5)
    assert "is its disk full?" in stack.product.status()["log"]["reason"]
    assert "is its disk full?" in stack.product.run("doctor").out
    assert stack.product.stack_file()["pids"] == pids, "nothing is restarted in vain"
    filler.unlink()
    until(lambda: stack.submit().status_code == httpx2.codes.CREATED, "a task is taken again", 90, pause=0.5)
    after = stack.product.stack_file()["pids"]
    assert after["services"] == pids["services"]
    assert psutil.Process(after["services"]).memory_info().rss - before < 100 * MIB
    stack.whole()
    until(lambda: stack.product.status()["log"]["state"] == "ready", "all is well again", 60, pause=0.5)


def test_a_broker_that_is_killed_on_a_full_disk_still_has_everything(stack: Stack) -> None:
    filler = stack.disks["nats"].fill()
    stack.product.kill("nats")
    filler.unlink()
    until(lambda: stack.submit().status_code == httpx2.codes.CREATED, "a task is taken again", 90, pause=0.5)
    stack.whole()


@pytest.mark.nightly
def test_what_is_killed_comes_back_though_nobody_can_write_down_its_process(stack: Stack) -> None:
    filler = stack.disks["run"].fill()
    before = stack.product.stack_file()["pids"]
    stack.product.kill("services")
    stack.product.api("/v1/status")
    filler.unlink()
    stack.product.kill("nats")
    until(lambda: stack.submit().status_code == httpx2.codes.CREATED, "a task is taken again", 90, pause=0.5)
    assert stack.product.stack_file()["pids"]["services"] != before["services"]
    stack.whole()


@pytest.mark.nightly
def test_tasks_run_while_the_disk_of_the_database_is_full(stack: Stack) -> None:
    filler = stack.disks["postgres"].fill()

    def stuck() -> bool:
        assert stack.submit().status_code == httpx2.codes.CREATED
        return any(view["state"] != "live" for view in stack.views().values())

    until(stuck, "the views can't be written", 120)
    answer = stack.submit()
    assert answer.status_code == httpx2.codes.CREATED
    filler.unlink()
    until(lambda: {v["state"] for v in stack.views().values()} == {"live"}, "the views go on", 60, pause=0.2)
    stack.whole()
    assert stack.product.ended(answer.json()["id"])["state"] == "succeeded"
    stack.product.rebuilds_equal()


def test_an_upload_for_which_there_is_no_room_is_refused_and_leaves_nothing(stack: Stack) -> None:
    content = os.urandom(4 * MIB)
    path = f"/v1/blobs/{hashlib.sha256(content).hexdigest()}"
    filler = stack.disks["objects"].fill(left=MIB)
    with stack.product.client() as client:
        answer = client.put(path, content=content)
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
        assert client.head(path).status_code == httpx2.codes.NOT_FOUND
        assert not list((stack.product.home / "objects").rglob("*.new"))
        filler.unlink()
        assert client.put(path, content=content).status_code == httpx2.codes.CREATED
