"""Real workers as plain subprocesses, and the runner's end of their line, for tests."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relay import Relay, relay
from remote_claude.runner.protocol import Task
from remote_claude.runner.worker import COMMAND
from remote_claude.runner.worker_link import OnFrames, WorkerLink, WorkerResult


@dataclass
class Stored:
    """A store of frames that keeps them in memory, and checks what the link promises about their order."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, first: int, frames: list[dict[str, Any]]) -> None:
        assert first == len(self.frames) + 1
        self.calls += 1
        self.frames += frames
        self.grown.set()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["kind"] == kind]

    def text(self, stream: str = "stdout") -> str:
        return "".join(f["text"] for f in self.of("output") if f["stream"] == stream)

    async def until_text(self, wanted: str) -> None:
        """Wait until this has been printed."""
        while wanted not in self.text():
            self.grown.clear()
            await self.grown.wait()


@dataclass
class Worker:
    """A worker process with its folders, and the link that serves it."""

    link: WorkerLink
    process: asyncio.subprocess.Process
    folder: Path
    stderr: asyncio.Task[bytes]
    relay: Relay | None

    async def result(self, *, renewing: bool = True) -> WorkerResult:
        """What came of it, with the lease kept up meanwhile."""
        async with asyncio.timeout(120):
            while True:
                done, _ = await asyncio.wait({self.link.result}, timeout=0.2)
                if done:
                    return self.link.result.result()
                if renewing:
                    await self.link.renew(10.0)

    async def exit_code(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()


def task(prompt: str, agent: str = "shell", **more: Any) -> Task:
    given: dict[str, Any] = {"task": "task_1", "attempt": 1, "lease_s": 10.0, "branch": "rclaude/task_1"}
    return Task(agent=agent, prompt=prompt, **given | more)


@asynccontextmanager
async def worker(
    given: Task,
    on_frames: OnFrames,
    *,
    bundle: Path | None = None,
    env: Mapping[str, str] | None = None,
    through_relay: bool = False,
    cut_every: int | None = None,
    max_blob_bytes: int = 1 << 20,
) -> AsyncIterator[Worker]:
    """Launch it, if wanted with a relay between the two that can be cut."""
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as name:
        folder = Path(name)
        for child in ("workspace", "home", "inbox"):
            (folder / child).mkdir()
        link_socket = folder / ("link.sock" if through_relay else "runner.sock")
        async with AsyncExitStack() as stack:
            link = await stack.enter_async_context(
                WorkerLink(
                    link_socket,
                    task=given,
                    bundle=bundle,
                    inbox=folder / "inbox",
                    on_frames=on_frames,
                    max_blob_bytes=max_blob_bytes,
                )
            )
            between = (
                await stack.enter_async_context(
                    relay(folder / "runner.sock", link_socket, cut_every=cut_every)
                )
                if through_relay
                else None
            )
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                cwd=folder / "workspace",
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder / "home"),
                    "TMPDIR": name,  # what a worker that is killed leaves goes with it
                    "RCLAUDE_SOCKETS": str(folder),
                    "RCLAUDE_WORKER_TOKEN": link.token,
                    **(env or {}),
                },
            )
            assert process.stderr is not None
            stderr = asyncio.create_task(process.stderr.read())
            try:
                yield Worker(link, process, folder, stderr, between)
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
                print((await stderr).decode(errors="replace"), file=sys.stderr)
