"""The process: it connects, works on one task, and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from remote_claude.worker.agents.base import STOPPED, AgentCannotRun, AgentResult
from remote_claude.worker.agents.processes import adopt_orphans, end_descendants, reap_orphans
from remote_claude.worker.attempt import AttemptRun, Stopped
from remote_claude.worker.checkpoints import SCRATCH
from remote_claude.worker.connection import ConnectionRefused, LeaseLost, RunnerConnection
from remote_claude.worker.dialing import check
from remote_claude.worker.first_of import first_of
from remote_claude.worker.protocol import frames
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.messages import MAX_DETAIL, MAX_SUMMARY, WORKER_FAILED, Finished
from remote_claude.worker.repository import RepositoryFailed
from remote_claude.worker.setup import SetupInvalid

EXIT_USAGE, EXIT_LEASE_LOST, EXIT_REFUSED = 2, 3, 4
_PRIVATE = ("RCLAUDE_", "ANTHROPIC_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    token: str
    runner_url: str
    workspace: Path
    home: Path

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """Raises `ValueError` without a token, or without a runner."""
        if not env.get("RCLAUDE_WORKER_TOKEN") or not env.get("RCLAUDE_RUNNER_URL"):
            raise ValueError(
                "RCLAUDE_WORKER_TOKEN and RCLAUDE_RUNNER_URL are not set: a worker is started by a runner"
            )
        return cls(
            token=env["RCLAUDE_WORKER_TOKEN"],
            runner_url=check(env["RCLAUDE_RUNNER_URL"]),
            workspace=Path.cwd(),
            home=Path(env.get("HOME", "/")),
        )


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
    """Work on one task; returns the exit code."""
    adopt_orphans()
    # In the home where it can be written: it has more room than the folder for temporary files.
    place = settings.home if os.access(settings.home, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=place, ignore_cleanup_errors=True) as scratch:
        connection = RunnerConnection(settings.runner_url, settings.token, Path(scratch))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, connection.stop.set)
        work = asyncio.create_task(_work(connection, settings, Path(scratch)))
        talking = asyncio.create_task(connection.run())
        # The connection ends well only after the work: when the runner has the result.
        both = asyncio.gather(work, talking)
        reaper = asyncio.create_task(reap_orphans())
        tasks = (both, connection.lease, reaper)
        try:
            for done in await first_of(*tasks):
                if done is not None:
                    done.result()
        except (LeaseLost, ConnectionRefused) as lost:
            print(f"worker: {lost}", file=sys.stderr)
            talking.cancel()  # what comes of it now is not the result of this attempt
            connection.stop.set()
            connection.window.close()
            await asyncio.wait({work}, timeout=protocol.GRACE_S)
            return EXIT_LEASE_LOST if isinstance(lost, LeaseLost) else EXIT_REFUSED
        finally:
            for task in (work, *tasks):
                task.cancel()
            await asyncio.gather(both, return_exceptions=True)
            await end_descendants(0)
    return 0


async def _work(connection: RunnerConnection, settings: Settings, scratch: Path) -> None:
    attempt = AttemptRun(
        connection,
        workspace=settings.workspace,
        home=settings.home,
        runner_url=settings.runner_url,
        scratch=scratch,
    )
    try:
        ended = await attempt.run(await connection.received)
    except Stopped:
        ended = STOPPED
    except (AgentCannotRun, RepositoryFailed, SetupInvalid) as error:
        ended = AgentResult(outcome="failed", reason=error.code, text=str(error))
    except Exception as error:  # the same fault another time: a lost sandbox would be tried again
        traceback.print_exc()
        text = f"a fault of Remote Claude in the sandbox: {type(error).__name__}: {error}"
        ended = AgentResult(outcome="failed", reason=WORKER_FAILED, text=text)
    text = next(frames.pieces(ended.text))
    await connection.window.put(
        frames.ResultFrame(outcome=ended.outcome, text=text, reason=ended.reason, exit_code=ended.exit_code)
    )
    result = Finished(
        outcome=ended.outcome,
        summary=text,
        exit_code=ended.exit_code,
        reason=ended.reason,
        base=attempt.base,
        sent=attempt.sent,
        commit=attempt.commit,
        written=shortened_summary(ended.summary),
        checks=attempt.checks,
        detail=shortened(attempt.remark if ended.outcome == "succeeded" else ended.text),
        messages=connection.taken_messages,
    )
    connection.finish(result, attempt.files)


def shortened_summary(text: str) -> str:
    """As much of it as a message has room for."""
    return text.strip()[:MAX_SUMMARY]


def shortened(text: str) -> str | None:
    """As much of the text as a detail may have, None for nothing."""
    text = text.strip()
    return (text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…") or None
