"""Sandboxes on this machine: bubblewrap, or, asked for by name, none at all."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import socket
import stat
import sys
import time
import zlib
from asyncio.subprocess import DEVNULL, Process
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import structlog

from remote_claude.runner.providers import bubblewrap, processes, seccomp
from remote_claude.runner.providers.base import (
    Capabilities,
    Exit,
    Instance,
    LaunchSpec,
    Limits,
    Measured,
    ProviderError,
    SandboxExists,
    SandboxFailed,
    SandboxUnavailable,
    SandboxUnknown,
)
from remote_claude.runner.providers.cgroups import Cgroup, Hierarchy, this_machine
from remote_claude.runner.providers.sandbox import Sandbox

log = structlog.get_logger(__name__)

Isolation = Literal["bubblewrap", "none"]
Command = list[str]

_REMEMBERED = 1000
# Into the groups first, then the command. When the host's memory runs out a sandbox goes before the host.
_JOIN = """echo 500 > /proc/self/oom_score_adj
while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done
shift; [ -z "$1" ] || mount --all --fstab "$1" || exit 125
shift; exec "$@" """


@dataclass(slots=True)
class _Plan:
    """How to start a command: after `before` comes the way into the control groups and the mounts of `fstab`."""

    command: Command
    before: Command = field(default_factory=list)
    fstab: str = ""
    folder: Path = Path("/")
    environment: dict[str, str] = field(default_factory=dict)
    inherited: list[int] = field(default_factory=list)


class HomeBusy(ProviderError):
    """Another runner uses this folder."""

    code: ClassVar[str] = "sandbox_home_busy"


class LocalProvider:
    """A `ComputeProvider` on this machine, with its records below `home`.

    `groups` are the places where control groups may be made: found by itself unless given. Use one provider
    for one `home`, and use it on one event loop: sandboxes end with the thread that launched them.
    """

    name = "local"

    def __init__(
        self, home: Path, isolation: Isolation = "bubblewrap", *, groups: Sequence[Hierarchy] | None = None
    ) -> None:
        self._home = home.expanduser().absolute() / "sandboxes"
        self._walls = isolation == "bubblewrap"
        self._groups = tuple(this_machine() if groups is None else groups)
        self._key = f"{zlib.crc32(str(self._home).encode()):08x}"
        self._live: dict[str, Sandbox] = {}
        self._ended: OrderedDict[str, Sandbox] = OrderedDict()
        self._bwrap: Path | None = None
        self._lock: int | None = None

    @property
    def capabilities(self) -> Capabilities:
        memory = any("memory" in place.controllers for place in self._groups)
        return Capabilities(
            snapshot=False, pause=False, egress_policy=self._walls, memory_limit=memory, gpu=False
        )

    async def check(self) -> None:
        """Run our Python in a sandbox once. Raises `SandboxUnavailable`, saying what to do."""
        limits = Limits(vcpu_millis=1000, memory_mib=256, duration_s=30, disk_mib=16)
        argv = (sys.executable, "-c", "import remote_claude.runner")
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

    async def reap(self) -> list[str]:
        """End and clear away what an earlier process of this home left; the names of it.

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
        dead = [path for path in left if path.name not in self._live]
        for folder in dead:
            await self._reap(folder)
        return [folder.name for folder in dead]

    async def launch(self, spec: LaunchSpec) -> Instance:
        if spec.name in self._live:
            raise SandboxExists(f"a sandbox {spec.name} is still there: end it first")
        started: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        started.add_done_callback(lambda done: done.cancelled() or done.exception())
        sandbox = Sandbox(spec, f"{self._key}/{spec.name}", self._walls, started, time.monotonic())
        self._ended.pop(spec.name, None)
        self._live[spec.name] = sandbox
        sandbox.run = asyncio.create_task(self._run(sandbox), name=f"sandbox {spec.name}")
        try:
            return await asyncio.shield(started)
        except asyncio.CancelledError:
            await self.terminate(spec.name)
            raise

    async def wait(self, name: str) -> Exit:
        sandbox = self._find(name)
        if sandbox.run is not None:
            await asyncio.shield(sandbox.run)
        if isinstance(sandbox.outcome, Exit):
            return sandbox.outcome
        raise sandbox.outcome or SandboxFailed(f"nobody watched {name} to its end")

    async def measure(self, name: str) -> Measured:
        return self._find(name).measure()

    async def terminate(self, name: str) -> None:
        if (sandbox := self._live.get(name)) is not None:
            sandbox.kill("killed")
            if sandbox.run is not None:
                await asyncio.wait({sandbox.run})

    async def describe(self, name: str) -> Instance | None:
        return next((instance for instance in await self.list() if instance.name == name), None)

    async def list(self) -> list[Instance]:
        return [sandbox.started.result() for sandbox in self._live.values() if sandbox.started.done()]

    async def close(self) -> None:
        """End everything, and let go of the home."""
        await asyncio.gather(*(self.terminate(name) for name in [*self._live]))
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _find(self, name: str) -> Sandbox:
        sandbox = self._live.get(name) or self._ended.get(name)
        if sandbox is None:
            raise SandboxUnknown(f"no sandbox {name} was launched here")
        return sandbox

    async def _run(self, sandbox: Sandbox) -> None:
        """All of one sandbox's life; whatever happens, nothing of it is left."""
        name = sandbox.spec.name
        try:
            self._prepare(sandbox)
            sandbox.outcome = await sandbox.follow(*await self._spawn(sandbox))
        except ProviderError as error:
            sandbox.outcome = error
        except OSError as error:
            sandbox.outcome = SandboxFailed(f"the sandbox {name} could not be built: {error}")
        finally:
            sandbox.kill("killed")
            await sandbox.clear()
            _remove(self._home / name)
            self._ended[name] = self._live.pop(name)
            while len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
            if not sandbox.started.done():
                failure = sandbox.outcome if isinstance(sandbox.outcome, ProviderError) else None
                sandbox.started.set_exception(failure or SandboxFailed(f"{name} was ended as it began"))

    def _prepare(self, sandbox: Sandbox) -> None:
        """What has to be there before the first process, recorded first so that `reap` finds it."""
        spec, folder = sandbox.spec, self._home / sandbox.spec.name
        for path in spec.readable:
            if not path.exists():
                raise SandboxFailed(f"{spec.name}: {path} should be readable inside, and is not there")
        for path in spec.sockets.values():
            if not path.is_socket():
                raise SandboxFailed(f"{spec.name}: {path} should be a socket inside, and is none")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        group = f"rclaude-{self._key}-{spec.name}"
        record = {
            "cgroups": [str(place.parent / group) for place in self._groups],
            "sockets": [str(path) for path in spec.sockets.values()],
        }
        (folder / "record.json").write_text(json.dumps(record))
        sandbox.cgroup = Cgroup.create(
            self._groups,
            group,
            memory_mib=spec.limits.memory_mib,
            vcpu_millis=spec.limits.vcpu_millis,
            processes=spec.limits.processes,
        )

    async def _spawn(self, sandbox: Sandbox) -> tuple[Process, int, int]:
        """Start it; with the read ends of its status and of its output."""
        limits = sandbox.spec.limits
        with ExitStack() as ours, ExitStack() as theirs:
            status, status_write = _pipe(ours, theirs)
            output, output_write = _pipe(ours, theirs)
            plan = self._walled(sandbox, status_write, theirs) if self._walls else self._bare(sandbox)
            if sandbox.uid is not None:
                os.fchown(output_write, sandbox.uid, -1)  # it may be opened anew, as /dev/stderr
            process = await asyncio.create_subprocess_exec(
                *(*plan.before, "/bin/sh", "-c", _JOIN, "sh", *sandbox.cgroup.doors, "--", plan.fstab),
                *(_which("prlimit"), "--core=0", f"--fsize={limits.disk_mib << 20}"),
                *(*self._process_limit(limits), "--", *plan.command),
                stdin=DEVNULL,
                stdout=output_write,
                stderr=output_write,
                cwd=plan.folder,
                env={processes.MARK: sandbox.mark, **plan.environment},
                pass_fds=plan.inherited,
                start_new_session=True,
            )
            ours.pop_all()
            return process, status, output

    def _walled(self, sandbox: Sandbox, status_fd: int, theirs: ExitStack) -> _Plan:
        """The command in bubblewrap; as root by a user of its own, in reach of what it needs."""
        spec, folder = sandbox.spec, self._home / sandbox.spec.name
        tool, drop = self._tool(), self._drop_privilege(sandbox)
        stage = bubblewrap.Stage(folder / "stage") if drop else None
        reach = stage.reach if stage else _itself
        seccomp_fd = _memory(theirs, bpf) if (bpf := seccomp.program()) else None
        arguments = bubblewrap.arguments(
            spec, etc=self._home / ".etc", reach=reach, status_fd=status_fd, seccomp_fd=seccomp_fd
        )
        args_fd = _memory(theirs, arguments)
        bwrap = bubblewrap.reached(tool, reach)
        plan = _Plan(
            command=[*drop, str(bwrap), "--args", str(args_fd), "--", *spec.argv],
            inherited=[fd for fd in (status_fd, seccomp_fd, args_fd) if fd is not None],
        )
        if stage:
            (folder / "fstab").write_bytes(stage.fstab())
            plan.before, plan.fstab = [_which("unshare"), "--mount", "--"], str(folder / "fstab")
        return plan

    def _bare(self, sandbox: Sandbox) -> _Plan:
        """The command with no wall around it, in folders of its own."""
        spec, folder = sandbox.spec, self._home / sandbox.spec.name
        for part in ("workspace", "home", "tmp", "run"):
            (folder / part).mkdir(exist_ok=True)
        for name, path in spec.sockets.items():
            (folder / "run" / f"{name}.sock").symlink_to(path.absolute())
        own = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "RCLAUDE_SOCKETS": str(folder / "run"),
        }
        command = [_which("setpriv"), "--pdeathsig", "KILL", "--", *spec.argv]
        return _Plan(command=command, folder=folder / "workspace", environment={**own, **spec.env})

    def _tool(self) -> Path:
        if self._bwrap is None:
            bubblewrap.write_etc(self._home / ".etc")
            self._bwrap = bubblewrap.find()
        return self._bwrap

    def _drop_privilege(self, sandbox: Sandbox) -> Command:
        """As root: to a user of the sandbox's own, who may connect to its sockets. Else nothing to drop."""
        if not processes.can_change_user():
            return []
        in_use = {other.uid for other in self._live.values() if other.uid is not None}
        sandbox.uid = processes.free_user(in_use, start=int(self._key, 16))
        for path in sandbox.spec.sockets.values():
            os.chown(path, -1, processes.GROUP_ID)
            path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o060)
        ids = (f"--reuid={sandbox.uid}", f"--regid={processes.GROUP_ID}")
        return [_which("setpriv"), *ids, "--clear-groups", "--no-new-privs", "--"]

    def _process_limit(self, limits: Limits) -> Command:
        """The kernel counts all that a user runs: tight for a user of the sandbox's own, else on top of the rest."""
        if self._walls and processes.can_change_user():
            return [f"--nproc={limits.processes}"]
        if os.geteuid() == 0 or any("pids" in place.controllers for place in self._groups):
            return []
        granted = sum(sandbox.spec.limits.processes for sandbox in self._live.values())
        return [f"--nproc={processes.threads_of(os.geteuid()) + granted}"]

    async def _reap(self, folder: Path) -> None:
        with suppress(
            FileNotFoundError, ValueError
        ):  # ended before its record was written: it had begun nothing
            record = json.loads((folder / "record.json").read_text())
            await Cgroup.found(record["cgroups"]).remove()
            for path in map(Path, record["sockets"]):
                if path.is_socket() and not _answers(path):
                    path.unlink(missing_ok=True)
        await processes.end_marked(f"{self._key}/{folder.name}")
        _remove(folder)
        log.info("cleared away what an earlier runner left", sandbox=folder.name)


def _which(tool: str) -> str:
    if (path := shutil.which(tool)) is None:
        raise SandboxUnavailable(f"{tool} is missing: install util-linux")
    return path


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """A pipe whose ends close with these."""
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


def _memory(stack: ExitStack, content: bytes) -> int:
    """A file in memory, to hand over by its descriptor."""
    fd = os.memfd_create("rclaude")
    stack.callback(os.close, fd)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _itself(path: Path) -> Path:
    return path


def _remove(folder: Path) -> None:
    """All of it, with what a command has closed against its own user."""
    if folder.exists():
        for at, names, _ in os.walk(folder):
            for inner in (Path(at, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
        shutil.rmtree(folder)


def _answers(path: Path) -> bool:
    """Does anybody listen on this socket?"""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True
