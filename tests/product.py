"""The product as a user has it: the real commands, on a home of its own."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import psutil

import forking
from remote_claude.runtime.broker.accounts import ADMIN, accounts
from remote_claude.runtime.broker.make_streams import make_streams
from remote_claude.runtime.embedded import Home, Supervisor, servers_for
from remote_claude.runtime.settings import BrokerSettings
from servers import Broker, until

BIN = forking.BIN
OURS = ("RCLAUDE_", "ANTHROPIC_", "GIT_", "COLUMNS")  # a screen is what a test says it is
TERMINAL = {"succeeded", "failed", "cancelled", "timed_out", "rejected"}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Product:
    """One home, and the commands run in it."""

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        identity = {
            "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com",
        }  # fmt: skip
        return {**clean_environment(), **identity, "RCLAUDE_HOME": str(self.home), **self.environment}

    def command(self, *args: str, program: str = "rclaude") -> list[str]:
        return [str(BIN / program), *args]

    def run(
        self,
        *args: str,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        program: str = "rclaude",
        timeout: float = 120,
    ) -> Done:
        """`rclaude ...`, to its end."""
        done = forking.run(
            program, *args, cwd=cwd or self.home.parent, env=self.env, stdin=stdin or b"", timeout=timeout
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *args: str, **options: Any) -> Done:
        """The same, and it must succeed."""
        done = self.run(*args, **options)
        assert done.code == 0, f"rclaude {' '.join(args)}: {done.code}\n{done.out}\n{done.err}"
        return done

    def admin(self, *args: str) -> Done:
        """`rclaude-admin ...`."""
        return self.run(*args, program="rclaude-admin")

    def status(self) -> Any:
        return self.ok("status", "--json").json

    def task(self, id: str) -> Any:
        """The task as the API shows it, however long the services take to come back."""
        return self.api(f"/v1/tasks/{id}").json()

    def output(self, id: str) -> str:
        """What the agent has written so far."""
        page = self.api(f"/v1/tasks/{id}/output", limit=200).json()
        return "".join(frame.get("text", "") for frame in page["frames"])

    def api(self, path: str, **query: Any) -> httpx2.Response:
        """An answer of the API; services that are away are waited for."""
        found: list[httpx2.Response] = []

        def answered() -> bool:
            try:
                with self.client() as client:
                    found.append(client.get(path, params=query))
            except (httpx2.TransportError, FileNotFoundError):
                return False
            return found[-1].status_code != httpx2.codes.SERVICE_UNAVAILABLE

        until(answered, f"an answer to {path}", 60, pause=0.1)
        assert found[-1].status_code == httpx2.codes.OK, found[-1].text
        return found[-1]

    def pids(self) -> dict[str, Any]:
        """The processes of the stack, as `status` shows them."""
        pids: dict[str, Any] = dict(self.stack_file()["pids"])
        runner = self.api("/v1/status").json()["services"]["runner"]
        return {**pids, "workers": [int(handle) for handle in runner["workers"]]}

    def processes(self) -> list[psutil.Process]:
        """Every process of the stack, and what those have started."""
        own = [psutil.Process(pid) for pid in self.stack_file()["pids"].values()]
        return [
            *own,
            *(started for one in own for started in one.children(recursive=True) if started not in own),
        ]

    def stack_file(self) -> Any:
        return json.loads((self.home / "run" / "stack.json").read_text())

    def submit(self, prompt: str, *args: str) -> str:
        """Hand over a task for `shell` without a repository; its id."""
        done = self.ok("run", "--agent", "shell", "--no-repo", "--detach", "--json", *args, prompt)
        return str(done.json["id"])

    def ended(self, id: str, timeout: float = 90) -> Any:
        """The task, once it is over."""
        until(lambda: self.task(id)["state"] in TERMINAL, f"the end of {id}", timeout, pause=0.1)
        return self.task(id)

    def ended_once_woken(self, id: str, timeout: float = 120) -> Any:
        """The task, once it is over; every `sleep` of the agents that run is ended, and what waits with it goes on."""

        def over() -> bool:
            for worker in self.pids()["workers"]:
                with suppress(psutil.NoSuchProcess):
                    for inside in psutil.Process(worker).children(recursive=True):
                        if inside.name() == "sleep":
                            inside.kill()
            return self.task(id)["state"] in TERMINAL

        until(over, f"the end of {id}", timeout, pause=0.1)
        return self.task(id)

    def client(self) -> httpx2.Client:
        """The HTTP API, as the owner."""
        return httpx2.Client(**self._as_owner())

    def async_client(self) -> httpx2.AsyncClient:
        """The same, for many requests at once."""
        return httpx2.AsyncClient(**self._as_owner())

    def _as_owner(self) -> dict[str, Any]:
        stack = self.stack_file()
        key = Path(stack["api_key"]).read_text().strip()
        return {"base_url": stack["url"], "headers": {"Authorization": f"Bearer {key}"}, "timeout": 30}

    def events(self, *args: str) -> list[Any]:
        """`rclaude-admin log read --json`."""
        done = self.admin("log", "read", "--json", *args)
        assert done.code == 0, done.err
        return done.lines

    def verified(self) -> Any:
        """What `rclaude-admin verify` finds, which must be nothing."""
        done = self.admin("verify", "--json")
        assert done.code == 0, done.out + done.err
        return done.json

    def views(self) -> list[str]:
        """The names of all views."""
        return [row["name"] for row in self.admin("views", "--json").json if row["kind"] == "view"]

    def rebuilds_equal(self) -> None:
        """Rebuild every view; each has to equal the live one."""
        done = self.admin("rebuild", *self.views(), "--json")
        assert done.code == 0, done.out + done.err
        assert {rebuilt["equal"] for rebuilt in done.lines} == {True}, done.out

    def kill(self, role: str) -> None:
        """`kill -9` one process of the stack, or every worker."""
        pids = self.pids()[role]
        for pid in pids if isinstance(pids, list) else [pids]:
            os.kill(pid, signal.SIGKILL)


@contextmanager
def product(environment: Mapping[str, str] | None = None, *, up: bool = True) -> Iterator[Product]:
    """A stack of its own for as long as this lasts.

    One that is `up` has servers that were prepared once for all of this process: an empty database, and streams without a
    message. Without `up`, and in a nightly run, the home is empty, and the first start makes them.
    """
    with TemporaryDirectory(prefix="rclaude-e2e-") as folder:
        one = Product(Path(folder) / "home", environment or {})
        try:
            if up:
                if not forking.as_a_user_does(one.env):
                    one.home.mkdir(mode=0o700)
                    subprocess.run(["cp", "--archive", *_prepared_servers(), one.home], check=True)
                one.ok("up", "--detach")
            yield one
        finally:
            one.run("down")


@cache
def _prepared_servers() -> tuple[Path, Path]:
    """The folders of a broker and a PostgreSQL that have been up and have met no service."""
    folder = TemporaryDirectory(prefix="rclaude-prepared-")
    atexit.register(folder.cleanup)

    async def prepare(home: Home) -> None:
        servers = servers_for(home, clean_environment(), accounts=accounts())
        async with Supervisor(servers.children, log_dir=home.log):
            credentials = servers.nats_credentials[ADMIN]
            await make_streams(BrokerSettings(nats_url=servers.nats_url, nats_credentials=credentials))

    with Home(Path(folder.name) / "home") as home, ThreadPoolExecutor(1) as beside_any_event_loop:
        beside_any_event_loop.submit(asyncio.run, prepare(home)).result()
    return home.nats, home.postgres


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change what the product does."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)}


def environment_of(home: Path, broker: Broker, dsn: str) -> dict[str, str]:
    """The whole environment of a service in a process of its own; its keys and objects are in `home`."""
    environment = clean_environment() | {
        "RCLAUDE_HOME": str(home),
        "RCLAUDE_NATS_URL": broker.url,
        "RCLAUDE_POSTGRES_DSN": dsn,
        "RCLAUDE_OBJECTS": str(home / "objects"),
        "RCLAUDE_KEK_FILE": str(home / "kek"),
    }
    if broker.seed_file is not None:
        environment["RCLAUDE_NATS_CREDENTIALS"] = str(broker.seed_file)
    return environment


def repository(folder: Path, files: Mapping[str, str]) -> Path:
    """A Git repository with one commit."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for command in (
        ("init", "--quiet", "--initial-branch", "main"),
        ("config", "user.name", "Ada"),
        ("config", "user.email", "ada@example.com"),
        ("add", "."),
        ("commit", "--quiet", "--message", "first"),
    ):
        git(folder, *command)
    return folder


def git(folder: Path, *args: str) -> str:
    """The output of a Git command."""
    return subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True).stdout
