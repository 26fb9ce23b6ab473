"""An installation with two gateways, two schedulers and two billing services, and somebody who works with it."""

import itertools
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import httpx2

from product import TERMINAL
from servers import until
from service_processes import Installation, ServiceProcess, routes

LEASE_S = 3
SETTINGS = {"RCLAUDE_SCHEDULER_LEASE_S": str(LEASE_S), "RCLAUDE_SCHEDULER_TICK_S": "0.2"}
Fault = Callable[[ServiceProcess], None]


class Pairs:
    """An installation with two of each of the three."""

    def __init__(self, apart: Installation) -> None:
        self.apart = apart
        for service in ("auth", "users", "runner"):
            apart.start(service)
        self.schedulers = [apart.start("scheduler") for _ in range(2)]
        self.billings = [apart.start("billing") for _ in range(2)]
        self.gateways = [
            apart.start("gateway", RCLAUDE_GATEWAY_ROUTES=routes(billing)) for billing in self.billings
        ]
        for process in apart.processes:
            process.ready()

    def leads(self, scheduler: ServiceProcess) -> bool:
        return bool(self.apart.status(scheduler)["services"]["scheduler"]["leader"])

    def applies(self, process: ServiceProcess, view: str) -> bool:
        views = self.apart.status(process)["services"][process.service]["views"]
        return bool(views[view]["state"] == "live")

    def applies_view(self, view: str) -> Callable[[ServiceProcess], bool]:
        return lambda process: self.applies(process, view)

    def split(
        self, pair: list[ServiceProcess], has_it: Callable[[ServiceProcess], bool]
    ) -> tuple[ServiceProcess, ServiceProcess]:
        """The one that has it, and the other."""
        found: list[ServiceProcess] = []

        def one_has() -> bool:
            found[:] = [process for process in pair if has_it(process)]
            return len(found) == 1

        until(one_has, "one of two has it", 60, pause=0.05)
        [other] = [process for process in pair if process is not found[0]]
        return found[0], other

    @contextmanager
    def working(self) -> Iterator[set[str]]:
        """Somebody who submits tasks all the time, to whichever gateway answers; in the end every one is over."""
        tasks: set[str] = set()
        over = Event()
        keys = itertools.count()

        def submit() -> None:
            doors = itertools.cycle([self.apart.http(gateway) for gateway in self.gateways])
            door = next(doors)
            while not over.is_set():
                key = f"work-{id(tasks)}-{next(keys)}"
                while True:
                    try:
                        answer = post(door, key, timeout=5)
                        if answer.status_code < 500:
                            break
                    except httpx2.TransportError:
                        pass
                    door = next(doors)
                assert answer.status_code in (200, 201, 202), answer.text
                tasks.add(answer.json()["id"])
                over.wait(0.1)

        with ThreadPoolExecutor(2) as pool:
            clients = [pool.submit(submit) for _ in range(2)]
            try:
                yield tasks
                until(lambda: len(tasks) > 20, "tasks", 60)
            finally:
                over.set()
            for client in clients:
                client.result(60)
        self.all_over(tasks)

    def all_over(self, tasks: set[str]) -> None:
        """Wait until all have succeeded, as both gateways see it."""
        for gateway in self.gateways:
            with self.apart.http(gateway) as http:

                def left(http: httpx2.Client = http) -> set[str]:
                    return tasks - {task["id"] for task in pages(http) if task["state"] in TERMINAL}

                until(lambda: not left(), "all tasks are over", 90, pause=0.2)
                assert {task["state"] for task in pages(http) if task["id"] in tasks} == {"succeeded"}

    def holds(self) -> None:
        """The independent reader finds nothing, and every view equals one rebuilt from the log."""
        admin = self.apart.operator.admin
        report = admin("verify", "--json")
        assert report.code == 0, report.out
        for view in admin("views", "--json").json:
            if view["name"] in ("gateway_tasks", "billing_usage"):
                assert admin("rebuild", view["name"], "--json").json["equal"] is True


def post(http: httpx2.Client, key: str, prompt: str = "nothing", timeout: float = 30) -> httpx2.Response:
    body = {"agent": "noop", "prompt": prompt}
    return http.post("/v1/tasks", json=body, headers={"Idempotency-Key": key}, timeout=timeout)


def pages(http: httpx2.Client) -> Iterator[Any]:
    cursor: dict[str, Any] = {}
    while True:
        page = http.get("/v1/tasks", params={"limit": 200, **cursor}).raise_for_status().json()
        yield from page["tasks"]
        if not page.get("next"):
            return
        cursor = {"cursor": page["next"]}


def killed(process: ServiceProcess) -> None:
    """`kill -9`."""
    process.kill()


def frozen(process: ServiceProcess) -> None:
    """Stopped in the midst of what it does, connections open."""
    process.signal(signal.SIGSTOP)


def back(process: ServiceProcess) -> None:
    """It runs again: a new process if it was killed, else the old one, none the wiser."""
    assert process.process is not None
    if process.process.poll() is None:
        process.signal(signal.SIGCONT)
    else:
        process.start()
    process.ready()
