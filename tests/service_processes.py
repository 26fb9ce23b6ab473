"""Services as processes of their own, each with its own credential; their ports are their own choice."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

import forking
from product import Product, environment_of
from remote_claude.access.kek import create_kek
from remote_claude.runtime import owner
from remote_claude.runtime.broker.accounts import ADMIN
from servers import Broker, until


@dataclass
class ServiceProcess:
    """`python -m remote_claude.<service>`."""

    service: str
    environment: Mapping[str, str]
    log: Path
    process: forking.Process | None = None

    def start(self) -> None:
        """Start it; a caller that asks for its `url` waits until it listens."""
        with self.log.open("ab") as log:
            self._from = log.tell()
            self.process = forking.service(self.service, self.environment, log)

    @property
    def url(self) -> str:
        """Where it answers, as it says itself."""
        until(
            lambda: bool(self.said("ready to serve")), f"{self.service} listens: {self.log}", 120, pause=0.05
        )
        return f"http://127.0.0.1:{self.said('ready to serve')[0]['port']}"

    def said(self, what: str) -> list[dict[str, Any]]:
        """Its log's lines with these words, since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._from)
            lines = [json.loads(line) for line in log if line.startswith(b"{") and line.endswith(b"\n")]
        return [line for line in lines if line["event"] == what]

    def ready(self) -> None:
        """Wait until it can do its work."""
        url = self.url

        def answers() -> bool:
            try:
                return httpx2.get(f"{url}/readyz", timeout=2).status_code == httpx2.codes.OK
            except httpx2.TransportError:
                return False

        until(answers, f"{self.service} to be ready: {self.log}", 120, pause=0.05)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, and wait for the end."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(30)

    def stop(self) -> None:
        """A clean stop, frozen or not."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)
            self.signal(signal.SIGCONT)
            self.process.wait(30)


@dataclass
class Installation:
    """Services apart, over one broker and one PostgreSQL. `operator` is who administers it."""

    home: Path
    as_user: Callable[[str], Broker]
    dsn: str
    settings: dict[str, str]
    api_key: str
    operator: Product
    processes: list[ServiceProcess] = field(default_factory=list)

    def start(self, service: str, **more: str) -> ServiceProcess:
        """One more process of a service."""
        name = f"{service}-{sum(p.service == service for p in self.processes) + 1}"
        environment = environment_of(self.home, self.as_user(service), self.dsn) | self.settings | more
        process = ServiceProcess(service, environment, self.home.parent / f"{name}.log")
        self.processes.append(process)
        process.start()
        return process

    def client(self, gateway: ServiceProcess) -> Product:
        """The owner's command line, by way of one gateway."""
        return Product(self.home, {"RCLAUDE_URL": gateway.url, "RCLAUDE_API_KEY": self.api_key})

    def status(self, process: ServiceProcess) -> Any:
        """What a process says of itself."""
        return self.http(process).get("/v1/status").raise_for_status().json()

    def http(self, process: ServiceProcess) -> httpx2.Client:
        """The owner, talking to one process."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx2.Client(base_url=process.url, headers=headers, timeout=30)


@contextmanager
def installation(
    as_user: Callable[[str], Broker], dsn: str, folder: Path, **settings: str
) -> Iterator[Installation]:
    """Streams, keys and an owner, and no process yet; those started end with it."""
    home = folder / "home"
    home.mkdir()
    create_kek(home / "kek")
    local = owner.ensure(home / "owner.json")
    more = {"RCLAUDE_OWNER_FILE": str(home / "owner.json"), "RCLAUDE_LOG_LEVEL": "debug", **settings}
    operator = Product(home, environment_of(home, as_user(ADMIN), dsn) | more)
    assert operator.admin("broker", "init").code == 0
    one = Installation(home, as_user, dsn, more, local.api_key, operator)
    try:
        yield one
    finally:
        for process in one.processes:
            process.stop()


def routes(billing: ServiceProcess) -> str:
    """What a gateway has to know of billing, as its setting."""
    return json.dumps(
        dict.fromkeys(("/v1/usage", "/v1/bill", "/v1/tasks/*/bill", "/v1/batches/*/bill"), billing.url)
    )
