"""The first process of a sandbox: through its control groups, as root through a stage, into bubblewrap."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
from asyncio.subprocess import DEVNULL
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from remote_claude.runner.providers.base import (
    LaunchSpec,
    SandboxLimits,
    SandboxUnavailable,
    Transport,
    UnixSocket,
    WebSocketAddress,
)
from remote_claude.runner.providers.local import bubblewrap, processes, seccomp
from remote_claude.runner.providers.local.sandbox import Sandbox, Started
from remote_claude.worker import COMMAND

Command = list[str]

# Into the groups first, then the command. When the host's memory runs out a sandbox goes before the host.
_JOIN = """echo 500 > /proc/self/oom_score_adj
while [ "$1" != -- ]; do echo 0 > "$1" || exit 125; shift; done
shift; [ -z "$1" ] || mount --all --fstab "$1" || exit 125
shift; exec "$@" """


async def isolated(sandbox: Sandbox, folder: Path, view: bubblewrap.SandboxView, drop: Command) -> Started:
    """The command in bubblewrap. As root, `drop` gives up that privilege after the limits are set: the user to come
    runs nothing else. For any other user bubblewrap waits at a gate, and `Sandbox.follow` sets them inside."""
    spec = sandbox.spec
    with ExitStack() as ours, ExitStack() as theirs:
        status, status_write = _pipe(ours, theirs)
        output, output_write = _pipe(ours, theirs)
        gate_read, gate = (None, None) if drop else _pipe(theirs, ours)
        seccomp_fd = _memory(theirs, bpf) if (bpf := seccomp.program()) else None
        arguments, fstab = bubblewrap.complete(
            view, spec, status_fd=status_write, gate_fd=gate_read, seccomp_fd=seccomp_fd
        )
        args_fd = _memory(theirs, arguments)
        before: Command = []
        if fstab:
            (folder / "fstab").write_bytes(fstab)
            before = [which("unshare"), "--mount", "--"]
        if sandbox.uid is not None:
            os.fchown(output_write, sandbox.uid, -1)  # so that it can be opened again, as /dev/stderr
            drop = [*_limited(spec.limits, spec.limits.processes), *drop]
        process = await _spawn(
            sandbox,
            before=before,
            fstab=str(folder / "fstab") if fstab else "",
            command=[*drop, str(view.program), "--args", str(args_fd), "--", *command_of(spec)],
            output=output_write,
            inherited=[fd for fd in (status_write, gate_read, args_fd, seccomp_fd) if fd is not None],
        )
        ours.pop_all()
        return Started(process, status, output, gate)


async def unisolated(sandbox: Sandbox, folder: Path) -> Started:
    """The command without isolation, in folders of its own."""
    spec = sandbox.spec
    for part in ("workspace", "home", "tmp"):
        (folder / part).mkdir(exist_ok=True)
    own = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        **runner_url(spec.transport),
    }
    user = os.geteuid()
    most = (
        processes.threads_of(user) + spec.limits.processes if user != 0 else None
    )  # it counts all of the user's
    with ExitStack() as ours, ExitStack() as theirs:
        status, _ = _pipe(ours, theirs)
        output, output_write = _pipe(ours, theirs)
        process = await _spawn(
            sandbox,
            command=[
                *_limited(spec.limits, most),
                which("setpriv"),
                "--pdeathsig",
                "KILL",
                "--",
                *command_of(spec),
            ],
            output=output_write,
            folder=folder / "workspace",
            environment={**own, **spec.env},
        )
        ours.pop_all()
        return Started(process, status, output, None)


def command_of(spec: LaunchSpec) -> Command:
    """The worker runs on this runner's own Python."""
    return [*(spec.argv or COMMAND)]


def runner_url(transport: Transport | None, seen_at: Path | None = None) -> dict[str, str]:
    """The variable that leads a worker to its runner; a socket may be seen elsewhere inside."""
    match transport:
        case None:
            return {}
        case UnixSocket(path):
            return {"RCLAUDE_RUNNER_URL": f"unix://{seen_at or path.absolute()}"}
        case WebSocketAddress(url):
            return {"RCLAUDE_RUNNER_URL": url}


def _limited(limits: SandboxLimits, most: int | None) -> Command:
    size = processes.at_most(resource.RLIMIT_FSIZE, limits.disk_mib << 20)
    command = [which("prlimit"), "--core=0", f"--fsize={size}"]
    if most is not None:
        command.append(f"--nproc={processes.at_most(resource.RLIMIT_NPROC, most)}")
    return [*command, "--"]


async def _spawn(
    sandbox: Sandbox,
    *,
    command: Command,
    output: int,
    before: Sequence[str] = (),
    fstab: str = "",
    folder: Path = Path("/"),
    environment: Mapping[str, str] | None = None,
    inherited: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(*before, "/bin/sh", "-c", _JOIN, "sh", *sandbox.cgroup.doors, "--", fstab, *command),
        stdin=DEVNULL,
        stdout=output,
        stderr=output,
        cwd=folder,
        env={processes.MARK: sandbox.mark, **(environment or {})},
        pass_fds=inherited,
        start_new_session=True,
    )


@cache
def which(tool: str) -> str:
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
