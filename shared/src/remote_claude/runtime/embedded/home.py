"""`RCLAUDE_HOME`: where one stack keeps its data, its logs, its secrets and its lock."""

import fcntl
import json
import os
import random
import socket
import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from remote_claude.runtime.durable_files import write_private
from remote_claude.runtime.embedded.child_process import NOBODY
from remote_claude.runtime.embedded.errors import EmbeddedError, HomeInUse, HomeUnusable, StackAlreadyRunning

# Below the range that outgoing connections take their ports from: while a server is down, a client that
# dials its port over and over must neither take the port nor meet itself on it.
_PORTS = range(15000, 32000)


class HomeUse(StrEnum):
    """What a home is held for."""

    STACK = "stack"
    COMMAND = "command"


class Home:
    """The folder of one stack: `nats/`, `postgres/`, `log/`, `run/`, all 0700, and `lock`.

    Root's home lets the group of `nobody` pass (0710), since PostgreSQL runs as that user.
    Used as a context manager it holds the lock: one stack per home, or one command while that is down. Written in
    it are the process and what it is, a line each.
    """

    def __init__(self, root: Path, holder: HomeUse = HomeUse.STACK) -> None:
        self._holder = holder
        self.root = root.expanduser().absolute()
        self.nats = self.root / "nats"
        self.streams = self.nats / "data" / "jetstream" / "log" / "streams"
        self.postgres = self.root / "postgres"
        self.log = self.root / "log"
        self.run = self.root / "run"
        self._lock: int | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str], holder: HomeUse = HomeUse.STACK) -> Self:
        """`RCLAUDE_HOME`, by default `~/.rclaude`."""
        return cls(Path(env.get("RCLAUDE_HOME") or "~/.rclaude"), holder)

    def create(self) -> None:
        """Make the folders; put right the modes of those that exist."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.root, 0, NOBODY)
            self.root.chmod(0o710)
        else:
            self.root.chmod(0o700)
        for folder in (self.nats, self.postgres, self.log, self.run):
            folder.mkdir(exist_ok=True, mode=0o700)
            folder.chmod(0o700)

    def __enter__(self) -> Self:
        try:
            self.create()
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HomeUnusable(
                f"{error.filename or self.root} can't be used: {error.strerror}. "
                "Set RCLAUDE_HOME to a folder that belongs to you"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            written = os.pread(descriptor, 40, 0).decode()
            os.close(descriptor)
            raise self._held(written) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n{self._holder}\n".encode(), 0)
        self._lock = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _held(self, written: str) -> EmbeddedError:
        """Who holds the home, by what is written in the lock."""
        pid, _, holder = written.partition("\n")
        if holder.strip() == HomeUse.COMMAND:
            return HomeInUse(
                f"another command is at work in {self.root} (process {pid}): wait until it has ended, "
                "or set RCLAUDE_HOME to another folder"
            )
        return StackAlreadyRunning(
            f"a stack runs in {self.root} already (process {pid or 'unknown'}): use it, end it with `rclaude down`, "
            "or set RCLAUDE_HOME to another folder"
        )

    def port(self, name: str, patience: float = 5.0) -> int:
        """The port of the server `name`: the one it had, if free, else another free one, remembered.

        A predecessor that is on its way out gets `patience` seconds to leave it: addresses in use stay true.
        """
        ports = self._ports()
        if name not in ports or not _comes_free(ports[name], patience):
            ports[name] = free_port(taken=ports.values())
            write_private(self.run / "ports.json", json.dumps(ports))
        return ports[name]

    def _ports(self) -> dict[str, int]:
        try:
            return {
                str(name): int(port)
                for name, port in json.loads((self.run / "ports.json").read_text()).items()
            }
        except (FileNotFoundError, ValueError):  # a damaged file is no loss: ports are chosen again
            return {}


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _comes_free(port: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not (free := is_free(port)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return free


def free_port(taken: Iterable[int] = ()) -> int:
    """A free port on 127.0.0.1, at random so that stacks that start together rarely meet."""
    taken = set(taken)
    while True:
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        if port not in taken and is_free(port):
            return port
