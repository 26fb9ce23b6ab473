"""One local sandbox, from its first process to the removal of its last file."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import time
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from remote_claude.runner.providers.base import (
    Instance,
    LaunchSpec,
    Measurement,
    ProviderError,
    SandboxExit,
    SandboxFailed,
)
from remote_claude.runner.providers.local.cgroups import Cgroup
from remote_claude.runner.providers.local.processes import at_most, end_marked, gone, threads_of
from remote_claude.worker.pipes import reading

_OUTPUT_KEPT = 8 * 1024
_OUTPUT_CHUNK = 64 * 1024
_OUTPUT_PAUSE_S = 0.02  # at most about 3 MiB a second of output are read and thrown away


@dataclass(frozen=True, slots=True)
class Started:
    """The outermost process, the read ends of its status and output, and the gate that it may wait at."""

    process: Process
    status: int
    output: int
    gate: int | None


@dataclass(slots=True)
class Sandbox:
    """Mutable: what the provider knows of one launch."""

    spec: LaunchSpec
    mark: str
    isolated: bool
    """Is there a process namespace around it? Then its end is the end of all in it."""
    started: asyncio.Future[Instance]
    begun: float
    run: asyncio.Task[None] | None = None
    process: Process | None = None
    pidfd: int | None = None
    cgroup: Cgroup = field(default_factory=lambda: Cgroup(()))
    uid: int | None = None
    why_killed: Literal["killed", "deadline"] | None = None
    outcome: SandboxExit | ProviderError | None = None
    measured: Measurement | None = None

    def kill(self, reason: Literal["killed", "deadline"]) -> None:
        """SIGKILL to all of it, by every way there is; `follow` then sees it end."""
        self.why_killed = self.why_killed or reason
        if self.pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.cgroup.kill()

    def measure(self) -> Measurement:
        if self.measured is not None:
            return self.measured
        wall_ms = int((time.monotonic() - self.begun) * 1000)
        return Measurement(wall_ms, self.cgroup.cpu_ms(), self.cgroup.memory_peak_mib())

    async def follow(self, begun: Started) -> SandboxExit:
        """Announce that it has started, and tell how it ended. Raises `SandboxFailed` if it never began."""
        self.process = process = begun.process
        loop, collected = asyncio.get_running_loop(), bytearray()
        left = self.begun + self.spec.limits.duration_s - time.monotonic()
        deadline = loop.call_later(max(left, 0), self.kill, "deadline")
        async with reading(begun.status) as status, reading(begun.output) as output:
            drain = asyncio.create_task(_keep_end(output, collected))
            try:
                reported = (
                    _documents(await status.readline()) if self.isolated else {"child-pid": process.pid}
                )
                if pid := reported.get("child-pid"):
                    with suppress(ProcessLookupError):
                        self.pidfd = os.pidfd_open(pid)
                        if begun.gate is not None:
                            self._set_limits(pid)
                            os.write(begun.gate, b"1")
                    self.started.set_result(Instance(self.spec.name, str(pid)))
                if self.why_killed:  # when there was less to kill
                    self.kill(self.why_killed)
                code = await process.wait()
                await self._end_stragglers(process.pid)
                reported |= _documents(await status.read())
                await drain
            finally:
                deadline.cancel()
                drain.cancel()
                if begun.gate is not None:
                    os.close(begun.gate)
        code = reported.get("exit-code", code if code >= 0 else 128 - code)
        text = collected.decode(errors="replace")
        if self.why_killed == "deadline":
            return SandboxExit(code, "deadline", text)
        if code and self.cgroup.out_of_memory():
            return SandboxExit(code, "out_of_memory", text)
        if self.why_killed or code == 128 + signal.SIGKILL:
            return SandboxExit(code, "killed", text)
        if self.isolated and "exit-code" not in reported:
            raise SandboxFailed(f"the sandbox {self.spec.name} could not be built: {text.strip()}")
        return SandboxExit(code, "exited", text)

    def _set_limits(self, pid: int) -> None:
        """On the first process, as it waits at the gate, since all inside inherit them.

        From Linux 5.14 on the processes of a user namespace count apart; before, all of a user's count together.
        """
        limits, (major, minor) = self.spec.limits, os.uname().release.split(".")[:2]
        most = limits.processes
        if (int(major), int(minor)) < (5, 14):
            most += threads_of(os.getuid())
        wanted = {
            resource.RLIMIT_NPROC: most,
            resource.RLIMIT_FSIZE: limits.disk_mib << 20,
            resource.RLIMIT_CORE: 0,
        }
        for limit, value in wanted.items():
            value = at_most(limit, value)
            resource.prlimit(pid, limit, (value, value))

    async def clear(self) -> None:
        """Wait for the last process, measure a last time, and take the control groups away."""
        if self.process is not None:
            await self.process.wait()
            await self._end_stragglers(self.process.pid)
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
        self.measured = self.measure()
        await self.cgroup.remove()
        self.cgroup = Cgroup(())

    async def _end_stragglers(self, group: int) -> None:
        """The command has ended; what it left in the background must not stay."""
        self.cgroup.kill()
        if self.isolated and self.pidfd is not None:
            await gone(self.pidfd)
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        if not self.cgroup.paths:
            await end_marked(self.mark)


def _documents(lines: bytes) -> dict[str, Any]:
    """bubblewrap's JSON documents, one a line; a line that was cut off by its end says nothing."""
    merged: dict[str, Any] = {}
    for line in lines.splitlines():
        with suppress(ValueError):
            merged |= json.loads(line)
    return merged


async def _keep_end(output: asyncio.StreamReader, kept: bytearray) -> None:
    """Read to the end, no faster than is good for us, and keep the last of it."""
    while chunk := await output.read(_OUTPUT_CHUNK):
        kept += chunk
        del kept[:-_OUTPUT_KEPT]
        if len(chunk) == _OUTPUT_CHUNK:
            await asyncio.sleep(_OUTPUT_PAUSE_S)
