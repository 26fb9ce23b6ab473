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
from remote_claude.runner.sessions import OnFrames, WorkerListener, WorkerResult, WorkerSession
from remote_claude.worker import COMMAND
from remote_claude.worker.protocol.messages import Assignment


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
    """A worker process with its folders, and the session that serves it."""

    session: WorkerSession
    process: asyncio.subprocess.Process
    folder: Path
    stderr: asyncio.Task[bytes]
    relay: Relay | None

    async def result(self, *, renewing: bool = True) -> WorkerResult:
        """The result, with the lease kept up meanwhile."""
        async with asyncio.timeout(120):
            while True:
                done, _ = await asyncio.wait({self.session.result}, timeout=0.2)
                if done:
                    return self.session.result.result()
                if renewing:
                    await self.session.renew(10.0)

    async def exit_code(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()


def task(prompt: str, agent: str = "shell", **more: Any) -> Assignment:
    given: dict[str, Any] = {"task": "task_1", "attempt": 1, "lease_s": 10.0, "branch": "rclaude/task_1"}
    return Assignment(agent=agent, prompt=prompt, **given | more)


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[WorkerListener]:
    """A listener for as long as it is entered."""
    listener = WorkerListener(folder)
    await listener.open()
    try:
        yield listener
    finally:
        await listener.close()


@asynccontextmanager
async def worker(
    given: Assignment,
    on_frames: OnFrames,
    *,
    bundle: Path | None = None,
    env: Mapping[str, str] | None = None,
    through_relay: bool = False,
    cut_every: int | None = None,
    max_blob_bytes: int = 1 << 20,
    **more: Any,
) -> AsyncIterator[Worker]:
    """Launch it, if wanted with a relay between the two that can be cut. `more` is for its session."""
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as name:
        folder = Path(name)
        for child in ("workspace", "home", "inbox"):
            (folder / child).mkdir()
        async with AsyncExitStack() as stack:
            listener = await stack.enter_async_context(listening(folder / "listener"))
            session = WorkerSession(
                given,
                bundle=bundle,
                inbox=folder / "inbox",
                on_frames=on_frames,
                max_blob_bytes=max_blob_bytes,
                **more,
            )
            await stack.enter_async_context(listener.attended(session))
            socket, between = listener.socket, None
            if through_relay:
                socket = folder / "runner.sock"
                between = await stack.enter_async_context(relay(socket, listener.socket, cut_every=cut_every))
            process = await asyncio.create_subprocess_exec(
                *COMMAND,
                cwd=folder / "workspace",
                stdin=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(folder / "home"),
                    "TMPDIR": name,  # what a worker that is killed leaves goes with it
                    "RCLAUDE_RUNNER_URL": f"unix://{socket}",
                    "RCLAUDE_WORKER_TOKEN": session.token,
                    **(env or {}),
                },
            )
            assert process.stderr is not None
            stderr = asyncio.create_task(process.stderr.read())
            try:
                yield Worker(session, process, folder, stderr, between)
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
                print((await stderr).decode(errors="replace"), file=sys.stderr)
