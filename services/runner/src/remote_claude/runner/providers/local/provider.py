"""Sandboxes on this machine: bubblewrap, or, asked for by name, none at all."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import sys
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal

import structlog

from remote_claude.runner.providers.base import (
    Capabilities,
    Instance,
    LaunchSpec,
    Measurement,
    ProviderError,
    SandboxExit,
    SandboxFailed,
    SandboxLimits,
    SandboxUnavailable,
    Transport,
    UnixSocket,
    WebSocketAddress,
)
from remote_claude.runner.providers.launches import Launches
from remote_claude.runner.providers.local import bubblewrap, processes, starting
from remote_claude.runner.providers.local.cgroups import Cgroup, Hierarchy, this_machine
from remote_claude.runner.providers.local.sandbox import Sandbox, Started
from remote_claude.runner.providers.local.starting import Command
from remote_claude.runner.providers.settings import ProviderSettings

log = structlog.get_logger(__name__)

Isolation = Literal["bubblewrap", "none"]


class HomeBusy(ProviderError):
    """Another runner uses this folder."""

    code: ClassVar[str] = "sandbox_home_busy"


class LocalProvider:
    """A `ComputeProvider` on this machine, with its records below `home`.

    `groups` are the places where control groups may be made: found by itself unless given. `readable` are host
    paths that are seen inside at the same place, read-only. Use one provider for one `home`, and use it on one event
    loop: sandboxes end with the thread that launched them.
    """

    name = "local"
    transports: frozenset[type[Transport]] = frozenset({UnixSocket})

    def __init__(
        self,
        home: Path,
        isolation: Isolation = "bubblewrap",
        *,
        groups: Sequence[Hierarchy] | None = None,
        readable: tuple[Path, ...] = (),
    ) -> None:
        self._home = home.expanduser().absolute() / "sandboxes"
        self._isolated, self._readable = isolation == "bubblewrap", readable
        self._groups = tuple(this_machine() if groups is None else groups)
        self._key = f"{zlib.crc32(str(self._home).encode()):08x}"
        self._launches = Launches[Sandbox]()
        self._uids: set[int] = set()
        self._bwrap: Path | None = None
        self._lock: int | None = None

    @property
    def capabilities(self) -> Capabilities:
        memory = any("memory" in place.controllers for place in self._groups)
        return Capabilities(egress_policy=self._isolated, memory_limit=memory, disk_limit=self._isolated)

    async def check(self) -> None:
        """Run our Python in a sandbox once. Raises `SandboxUnavailable`, saying what to do."""
        limits = SandboxLimits(vcpu_millis=1000, memory_mib=256, duration_s=30, disk_mib=16)
        argv = (sys.executable, "-I", "-c", "import remote_claude.worker.main")
        spec = LaunchSpec(name=f"check-{os.getpid()}", argv=argv, limits=limits)
        try:
            await self.launch(spec)
            end = await self.wait(spec.name)
        except SandboxFailed as error:
            raise SandboxUnavailable(bubblewrap.advice(str(error))) from error
        if end.code:
            raise SandboxUnavailable(
                bubblewrap.advice(f"Python in a sandbox ended with {end.code} ({end.reason}): {end.output}")
            )

    async def recover(self) -> list[str]:
        """End and remove what an earlier process of this home left; the names of it.

        Raises `HomeBusy` while another process uses this home; from then on it is ours until `close`.
        """
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock is None:
            lock = os.open(self._home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise HomeBusy(f"another runner uses {self._home}: stop it, or set another home") from None
            self._lock = lock
        left = [path for path in self._home.iterdir() if path.is_dir() and path.name[0] != "."]
        dead = [path for path in left if path.name not in self._launches.live]
        for folder in dead:
            await self._reap(folder)
        return [folder.name for folder in dead]

    async def launch(self, spec: LaunchSpec) -> Instance:
        self._launches.claim(spec.name)
        started: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        started.add_done_callback(lambda done: done.cancelled() or done.exception())
        sandbox = Sandbox(spec, f"{self._key}/{spec.name}", self._isolated, started, time.monotonic())
        self._launches.live[spec.name] = sandbox
        sandbox.run = asyncio.create_task(self._run(sandbox), name=f"sandbox {spec.name}")
        try:
            return await asyncio.shield(started)
        except asyncio.CancelledError:
            await self.terminate(spec.name)
            raise

    async def wait(self, name: str) -> SandboxExit:
        sandbox = self._launches.find(name)
        if sandbox.run is not None:
            await asyncio.shield(sandbox.run)
        if isinstance(sandbox.outcome, SandboxExit):
            return sandbox.outcome
        raise sandbox.outcome or SandboxFailed(f"nobody watched {name} to its end")

    async def measure(self, name: str) -> Measurement:
        return self._launches.find(name).measure()

    async def terminate(self, name: str) -> None:
        if (sandbox := self._launches.live.get(name)) is not None:
            sandbox.kill("killed")
            if sandbox.run is not None:
                await asyncio.wait({sandbox.run})

    async def list(self) -> list[Instance]:
        return [
            sandbox.started.result() for sandbox in self._launches.live.values() if sandbox.started.done()
        ]

    async def close(self) -> None:
        """End everything, and let go of the home."""
        await asyncio.gather(*(self.terminate(name) for name in [*self._launches.live]))
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _run(self, sandbox: Sandbox) -> None:
        """One sandbox from start to end; nothing of it is left, also after a failure."""
        name = sandbox.spec.name
        try:
            self._prepare(sandbox)
            sandbox.outcome = await sandbox.follow(await self._start(sandbox))
        except ProviderError as error:
            sandbox.outcome = error
        except OSError as error:
            sandbox.outcome = SandboxFailed(f"the sandbox {name} could not be built: {error}")
        finally:
            sandbox.kill("killed")
            await sandbox.clear()
            _remove(self._home / name)
            self._launches.end(name)
            if not sandbox.started.done():
                failure = sandbox.outcome if isinstance(sandbox.outcome, ProviderError) else None
                sandbox.started.set_exception(failure or SandboxFailed(f"{name} was ended as it began"))

    def _prepare(self, sandbox: Sandbox) -> None:
        """What has to be there before the first process, recorded first so that `recover` finds it."""
        spec, folder = sandbox.spec, self._home / sandbox.spec.name
        for path in self._readable:
            if not path.exists():
                raise SandboxFailed(f"{spec.name}: {path} should be readable inside, and does not exist")
        match spec.transport:
            case UnixSocket(path) if not path.is_socket():
                raise SandboxFailed(f"{spec.name}: {path} should be a socket inside, and is none")
            case WebSocketAddress() if self._isolated:
                raise SandboxFailed(f"{spec.name}: a sandbox of this provider has no network")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        group = f"rclaude-{self._key}-{spec.name}"
        record = {"cgroups": [str(place.parent / group) for place in self._groups]}
        (folder / "record.json").write_text(json.dumps(record))
        sandbox.cgroup = Cgroup.create(
            self._groups,
            group,
            memory_mib=spec.limits.memory_mib,
            vcpu_millis=spec.limits.vcpu_millis,
            processes=spec.limits.processes,
        )

    async def _start(self, sandbox: Sandbox) -> Started:
        spec, folder = sandbox.spec, self._home / sandbox.spec.name
        if not self._isolated:
            return await starting.unisolated(sandbox, folder)
        drop = self._drop_privilege(sandbox)
        if self._bwrap is None:
            self._bwrap = bubblewrap.find()
        view = bubblewrap.view(
            self._bwrap, self._home, readable=self._readable, disk_mib=spec.limits.disk_mib, staged=bool(drop)
        )
        return await starting.isolated(sandbox, folder, view, drop)

    def _drop_privilege(self, sandbox: Sandbox) -> Command:
        """As root: to a user of the sandbox's own, so that no two share one. Otherwise nothing to drop."""
        if not processes.can_change_user():
            return []
        in_use = {other.uid for other in self._launches.live.values()}
        known = next((uid for uid in self._uids if uid not in in_use), None)
        sandbox.uid = known or processes.free_user(self._uids, start=int(self._key, 16))
        self._uids.add(sandbox.uid)
        ids = (f"--reuid={sandbox.uid}", f"--regid={processes.GROUP_ID}")
        return [starting.which("setpriv"), *ids, "--clear-groups", "--no-new-privs", "--"]

    async def _reap(self, folder: Path) -> None:
        with suppress(FileNotFoundError, ValueError):  # nothing had begun before its record was written
            record = json.loads((folder / "record.json").read_text())
            await Cgroup.found(record["cgroups"]).remove()
        await processes.end_marked(f"{self._key}/{folder.name}")
        _remove(folder)
        log.info("removed what an earlier runner left", sandbox=folder.name)


def _remove(folder: Path) -> None:
    """All of it, with what a command has closed against its own user."""
    if folder.exists():
        for at, names, _ in os.walk(folder):
            for inner in (Path(at, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(folder)


def create(settings: ProviderSettings) -> LocalProvider:
    """For the entry point `local`. `RCLAUDE_RUNNER_ISOLATION=none` leaves the isolation out."""
    isolation = settings.environment.get("RCLAUDE_RUNNER_ISOLATION", "bubblewrap")
    if isolation not in ("bubblewrap", "none"):
        raise SandboxUnavailable(f"RCLAUDE_RUNNER_ISOLATION is {isolation!r}: it can be bubblewrap or none")
    return LocalProvider(settings.home, "none" if isolation == "none" else "bubblewrap")
