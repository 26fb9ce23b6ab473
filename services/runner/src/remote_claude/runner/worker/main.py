"""From the task to its result: prepare the repository, run the agent, commit, say what came of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from remote_claude.runner import agents, frames, protocol
from remote_claude.runner.agents.base import STOPPED, AgentResult, AgentUnavailable, Job
from remote_claude.runner.agents.processes import end_descendants, reap_orphans, stand_above
from remote_claude.runner.frames import Output, Status
from remote_claude.runner.protocol import Result, Task
from remote_claude.runner.worker import repository
from remote_claude.runner.worker.connection import LeaseLost, Refused, RunnerConnection
from remote_claude.runner.worker.repository import Prepared, RepositoryFailed

T = TypeVar("T")

EXIT_USAGE, EXIT_LEASE_LOST, EXIT_REFUSED = 2, 3, 4
_PRIVATE = ("RCLAUDE_", "ANTHROPIC_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    token: str
    runner_socket: Path
    model_socket: Path
    workspace: Path

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """Raises `ValueError` without a token."""
        if not env.get("RCLAUDE_WORKER_TOKEN"):
            raise ValueError("RCLAUDE_WORKER_TOKEN is not set: a worker is started by a runner")
        sockets = Path(env.get("RCLAUDE_SOCKETS", "/run/rclaude"))
        return cls(
            token=env["RCLAUDE_WORKER_TOKEN"],
            runner_socket=Path(env.get("RCLAUDE_RUNNER_SOCKET", sockets / "runner.sock")),
            model_socket=Path(env.get("RCLAUDE_MODEL_SOCKET", sockets / "model.sock")),
            workspace=Path.cwd(),
        )


class Stopped(Exception):
    """The runner said stop."""


def main() -> int:
    """The process; its exit code."""
    try:
        settings = Settings.from_environment(os.environ)
    except ValueError as error:
        print(f"worker: {error}", file=sys.stderr)
        return EXIT_USAGE
    for name in [name for name in os.environ if name.startswith(_PRIVATE)]:
        del os.environ[name]
    return asyncio.run(run(settings))


async def run(settings: Settings) -> int:
    """Work one task; returns the exit code."""
    stand_above()
    with tempfile.TemporaryDirectory(prefix="rclaude-") as scratch:
        connection = RunnerConnection(settings.runner_socket, settings.token, Path(scratch))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, connection.stop.set)
        work = asyncio.create_task(_work(connection, settings, Path(scratch)))
        # The line ends well only after the work: with the result in the runner's hands.
        both = asyncio.gather(work, connection.run())
        reaper = asyncio.create_task(reap_orphans())
        tasks = (both, connection.lease, reaper)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    await task
        except (LeaseLost, Refused) as lost:
            print(f"worker: {lost}", file=sys.stderr)
            connection.stop.set()
            connection.outbox.close()
            await asyncio.wait({work}, timeout=protocol.GRACE_S)
            return EXIT_LEASE_LOST if isinstance(lost, LeaseLost) else EXIT_REFUSED
        finally:
            for task in (work, *tasks):
                task.cancel()
            await end_descendants(0)
    return 0


async def _work(connection: RunnerConnection, settings: Settings, scratch: Path) -> None:
    task, bundle = await connection.task
    attempt = _Attempt(connection, settings, task, bundle, scratch)
    try:
        ended = await attempt.run()
    except Stopped:
        ended = STOPPED
    except (AgentUnavailable, RepositoryFailed) as error:
        ended = AgentResult(outcome="failed", reason=error.code, text=str(error))
    text = next(frames.pieces(ended.text))
    await connection.outbox.put(
        frames.Result(outcome=ended.outcome, text=text, reason=ended.reason, exit_code=ended.exit_code)
    )
    result = Result(
        outcome=ended.outcome,
        summary=text,
        exit_code=ended.exit_code,
        reason=ended.reason,
        base=attempt.base,
        sent=attempt.sent,
        commit=attempt.commit,
    )
    connection.finish(result, attempt.files)


class _Attempt:
    def __init__(
        self, connection: RunnerConnection, settings: Settings, task: Task, bundle: Path | None, scratch: Path
    ) -> None:
        self._emit, self._stop = connection.outbox.put, connection.stop
        self._settings, self._task, self._bundle, self._scratch = settings, task, bundle, scratch
        self.base: str | None = None
        self.sent: str | None = None
        self.commit: str | None = None
        self.files: dict[str, Path] = {}

    async def run(self) -> AgentResult:
        """The three phases. What an agent has done before it failed is committed too."""
        task = self._task
        await self._emit(Status(phase="preparing"))
        prepared, agent = await self._unless_stopped(
            asyncio.gather(self._prepare(), asyncio.to_thread(agents.create, task.agent))
        )
        await self._emit(Status(phase="running"))
        job = Job(
            task=task.task,
            attempt=task.attempt,
            prompt=task.prompt,
            model=task.model,
            workspace=self._settings.workspace,
            model_socket=self._settings.model_socket,
        )
        ended = await agent.run(job, self._emit, self._stop)
        if prepared:
            await self._emit(Status(phase="committing"))
            await self._unless_stopped(self._conclude(prepared))
        return ended

    async def _prepare(self) -> Prepared | None:
        if self._bundle is None:
            return None
        prepared = await repository.prepare(
            self._bundle,
            self._settings.workspace,
            self._task.branch,
            author=(self._task.author_name, self._task.author_email),
            aside=self._scratch / "aside.git",
        )
        self.base, self.sent = prepared.base, prepared.sent
        return prepared

    async def _conclude(self, prepared: Prepared) -> None:
        task = self._task
        concluded = await repository.conclude(
            self._settings.workspace,
            prepared,
            branch=task.branch,
            message=_message(task),
            author=(task.author_name, task.author_email),
            out=self._scratch / "result",
        )
        if concluded.skipped:
            text = "".join(f"not in the commit: {path}\n" for path in concluded.skipped)
            await self._emit(Output(stream="stderr", text=text))
        self.commit = concluded.commit
        if concluded.bundle and concluded.patch:
            self.files = {protocol.RESULT_BUNDLE: concluded.bundle, protocol.CHANGES_PATCH: concluded.patch}

    async def _unless_stopped(self, doing: Awaitable[T]) -> T:
        work = asyncio.ensure_future(doing)
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Stopped
            return work.result()
        finally:
            stopped.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})


def _message(task: Task) -> str:
    """The prompt's first line as the subject, and who did it."""
    subject = next((line.strip() for line in task.prompt.splitlines() if line.strip()), task.task)
    short = subject if len(subject) <= 72 else subject[:69] + "..."
    return f"{short}\n\nRclaude-Task: {task.task}\nRclaude-Agent: {task.agent}\n"
