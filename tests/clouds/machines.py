"""What a double of a vendor runs: a command in a sandbox of this machine, with a state that the double shows as its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from remote_claude.runner.providers import LaunchSpec, ProviderError, SandboxExit, SandboxLimits
from remote_claude.runner.providers.clouds.provider import WORKER
from remote_claude.runner.providers.local import LocalProvider

OF_THE_IMAGE = {"HOME", "USER", "TZ", "LANG"}
"""Here the sandbox has its own."""


class Processes:
    """Processes of this machine by the id that the double gives them, with its network: for workers that dial a gateway."""

    def __init__(self, home: Path) -> None:
        self._home, self.started = home, 0
        self._running: dict[str, tuple[asyncio.subprocess.Process, asyncio.Task[bytes]]] = {}

    async def start(self, id: str, command: Sequence[str], env: Mapping[str, str], memory_mib: int) -> None:
        """`command` starts in an empty workspace."""
        self.started += 1
        place = Path(tempfile.mkdtemp(dir=self._home))
        (place / "workspace").mkdir()
        own = {key: value for key, value in env.items() if key not in OF_THE_IMAGE}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable if word == WORKER[0] else word for word in command),
            env={"PATH": os.environ["PATH"], "HOME": str(place), **own},
            cwd=place / "workspace",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        self._running[id] = (process, asyncio.create_task(process.stdout.read()))

    def end(self, id: str) -> SandboxExit | None:
        """None while it runs."""
        process, reading = self._running[id]
        if process.returncode is None or not reading.done():
            return None
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return SandboxExit(code, "exited", reading.result().decode(errors="replace"))

    async def kill(self, id: str) -> None:
        process, _ = self._running[id]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def close(self) -> None:
        for id in self._running:
            await self.kill(id)


class Machines:
    """Sandboxes by the id that the double gives them."""

    python = sys.executable
    """In place of the worker's image's."""

    def __init__(self, home: Path) -> None:
        self._local = LocalProvider(home)
        self._waiting: dict[str, asyncio.Task[SandboxExit]] = {}

    async def start(self, id: str, command: Sequence[str], env: Mapping[str, str], memory_mib: int) -> None:
        """`command` starts in the workspace. Memory is held to by the size of the address space."""
        own = [self.python if word == WORKER[0] else word for word in command]
        spec = LaunchSpec(
            name=id,
            argv=("prlimit", f"--as={memory_mib << 20}", *own),
            env={key: value for key, value in env.items() if key not in OF_THE_IMAGE},
            limits=SandboxLimits(
                vcpu_millis=1000, memory_mib=4096, duration_s=300, processes=1000, disk_mib=64
            ),
        )
        await self._local.launch(spec)
        self._waiting[id] = asyncio.create_task(self._local.wait(id))

    def end(self, id: str) -> SandboxExit | None:
        """None while it runs."""
        waiting = self._waiting[id]
        if not waiting.done():
            return None
        error = waiting.exception()
        assert error is None or isinstance(error, ProviderError)
        return waiting.result() if error is None else SandboxExit(127, "exited", str(error))

    async def kill(self, id: str) -> None:
        await self._local.terminate(id)
        await asyncio.wait({self._waiting[id]})

    async def close(self) -> None:
        await self._local.close()
