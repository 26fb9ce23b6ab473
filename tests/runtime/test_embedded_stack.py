"""Whole stacks in processes of their own: crashed, killed, side by side, as root and as an ordinary user."""

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nats
import psutil
import psycopg
import pytest

from remote_claude.runtime.embedded import Home, NatsUser, RunAs, servers_for
from remote_claude.runtime.embedded.child_process import NOBODY, as_user, refusal
from servers import until

SCRIPT = Path(__file__).parent.parent / "embedded_stack.py"


class Stack:
    """`embedded_stack.py` as a process, and what it said last."""

    def __init__(self, root: Path, run_as: RunAs = RunAs.SELF, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            as_user(run_as, [sys.executable, SCRIPT, root], death_signal=signal.SIGTERM),
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (env or {}),
        )
        self.pids: dict[str, int] = {}
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            self.pids = said.get("pids", self.pids)
            if "pids" not in said:
                self._said.put(said)
        self._said.put(None)

    def hear(self) -> dict[str, Any]:
        """What it says next, process numbers aside."""
        said = self._said.get(timeout=120)
        assert said is not None, "the stack ended without a word"
        return said

    def ready(self) -> dict[str, str]:
        said = self.hear()
        assert "ready" in said, said
        return dict(said["ready"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=60)

    def family(self) -> list[psutil.Process]:
        """Every process below it that does not end just now, as PostgreSQL's helpers do."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in family if not is_gone(process)]


@contextmanager
def stack(root: Path, run_as: RunAs = RunAs.SELF, env: dict[str, str] | None = None) -> Iterator[Stack]:
    running = Stack(root, run_as, env)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


@contextmanager
def folder(parent: Path | None = None, mode: int = 0o711) -> Iterator[Path]:
    with TemporaryDirectory(prefix=".rclaude-test-", dir=parent) as path:
        Path(path).chmod(mode)
        yield Path(path)


async def publish(ready: dict[str, str]) -> int:
    """One more message in stream `KEPT`; its sequence number."""
    client = await nats.connect(ready["nats_url"], nkeys_seed=ready["seed_file"], max_reconnect_attempts=-1)
    try:
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        return (await client.jetstream().publish("kept", b"x")).seq
    finally:
        await client.close()


def insert(ready: dict[str, str]) -> int:
    """One more row in table `kept`; how many there are."""
    with psycopg.connect(ready["postgres_dsn"]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def is_gone(process: psutil.Process) -> bool:
    try:
        process.name()  # which is remembered
        return process.status() == psutil.STATUS_ZOMBIE or not process.is_running()
    except psutil.NoSuchProcess:
        return True


def all_gone(family: list[psutil.Process]) -> bool:
    return all(is_gone(process) for process in family)


def served(ready: dict[str, str]) -> bool:
    """Whether both servers answer."""
    try:
        insert(ready)
    except psycopg.OperationalError:
        return False
    return True


async def test_killed_servers_come_back_at_the_same_place_with_their_data() -> None:
    with folder() as root, stack(root / "home") as running:
        ready = running.ready()
        assert (await publish(ready), insert(ready)) == (1, 1)
        before = running.pids
        assert sorted(before) == ["nats", "postgres"]

        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        until(
            lambda: not set(before.values()) & set(running.pids.values()) and len(running.pids) == 2,
            "both are new",
        )
        until(lambda: served(ready), "the database answers")

        assert await publish(ready) == 2
        assert insert(ready) > 2


async def test_killed_stack_leaves_no_process_and_starts_again_with_its_data() -> None:
    with folder() as root, stack(root / "home") as running:
        ready = running.ready()
        assert (await publish(ready), insert(ready)) == (1, 1)
        family = running.family()
        assert {"nats-server", "postgres"} <= {process.name() for process in family}

        running.kill()
        with stack(root / "home") as again:  # at once, while the old servers may still be on their way out
            assert again.ready() == ready
            assert (await publish(ready), insert(ready)) == (2, 2)
        until(lambda: all_gone(family), "every process has ended")


def test_stopped_stack_leaves_no_process_and_says_so_by_its_exit() -> None:
    with folder() as root, stack(root / "home") as running:
        running.ready()
        family = running.family()
        assert running.stop() == 0
        assert running.pids == {}
        assert all_gone(family)


async def test_two_homes_run_side_by_side_and_one_home_runs_once() -> None:
    with folder() as root, stack(root / "one") as one, stack(root / "two") as two:
        first, second = one.ready(), two.ready()
        assert first["nats_url"] != second["nats_url"]
        assert (await publish(first), insert(first)) == (1, 1)
        assert (await publish(second), insert(second)) == (1, 1)
        with stack(root / "one") as third:
            assert third.hear() == {"error": "stack_already_running"}
            assert third.process.wait(timeout=30) == 1
        assert (await publish(first), insert(first)) == (2, 2)


@pytest.mark.parametrize(("parent", "mode"), [(None, 0o711), (Path.home(), 0o700)], ids=["open", "closed"])
def test_user_of_the_database(parent: Path | None, mode: int) -> None:
    """Root's PostgreSQL is `nobody`: outright where it may go, else by a user namespace; ours is our own."""
    with folder(parent, mode) as root, stack(root / "home") as running:
        ready = running.ready()
        assert (asyncio.run(publish(ready)), insert(ready)) == (1, 1)
        server = psutil.Process(running.pids["postgres"])
        mapping = Path(f"/proc/{server.pid}/uid_map").read_text().split()
        if os.geteuid() != 0:
            assert server.uids().effective == os.geteuid()
        elif mode == 0o711:
            assert server.uids().effective == NOBODY
        else:
            assert server.uids().effective == 0
            assert mapping == [str(NOBODY), "0", "1"]
            capabilities = Path(f"/proc/{server.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in capabilities
        running.kill()
        until(lambda: is_gone(server), "PostgreSQL ended with its parent")


async def test_ordinary_user_needs_no_root() -> None:
    with folder() as root:
        run_as = RunAs.SELF
        if os.geteuid() == 0:
            os.chown(root, NOBODY, NOBODY)
            run_as = RunAs.NOBODY
            if refusal(run_as, Path(sys.executable), root):  # an interpreter that only root may run
                os.chown(root, 0, 0)
                run_as = RunAs.MAPPED
        with stack(root / "home", run_as) as running:
            ready = running.ready()
            assert insert(ready) == 1
            assert await publish(ready) == 1
            family = running.family()
            assert running.stop() == 0
            assert all_gone(family)


def test_servers_that_the_environment_names_are_not_started(tmp_path: Path) -> None:
    env = {
        "RCLAUDE_NATS_URL": "nats://10.0.0.1:4222",
        "RCLAUDE_NATS_CREDENTIALS": "/etc/broker.nk",
        "RCLAUDE_POSTGRES_DSN": "postgresql://10.0.0.2/views",
    }
    with Home(tmp_path) as home:
        servers = servers_for(home, env, [NatsUser(name="gateway"), NatsUser(name="runner")])
    assert (servers.nats_url, servers.postgres_dsn) == (env["RCLAUDE_NATS_URL"], env["RCLAUDE_POSTGRES_DSN"])
    assert servers.nats_credentials == {"gateway": Path("/etc/broker.nk"), "runner": Path("/etc/broker.nk")}
    assert servers.children == ()


def test_one_outside_server_leaves_the_other_embedded(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        servers = servers_for(home, {"RCLAUDE_POSTGRES_DSN": "postgresql://10.0.0.2/views"}, [])
        assert [child.name for child in servers.children] == ["nats"]
