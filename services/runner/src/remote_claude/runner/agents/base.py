"""What an agent promises. Standard library only: the worker imports it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, TypeAlias

from remote_claude.runner.frames import Frame, Outcome

Emit: TypeAlias = Callable[[Frame], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an agent is to do, and where. `model_socket` leads to the model; the key is on the other side of it."""

    task: str
    attempt: int
    prompt: str
    workspace: Path
    model_socket: Path
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """How it went. `reason` is one of `protocol.Result`'s, `text` the agent's last words or what went wrong."""

    outcome: Outcome
    text: str
    reason: str | None = None
    exit_code: int | None = None


STOPPED = AgentResult(outcome="failed", reason="stopped", text="stopped before it had finished")


class AgentUnavailable(Exception):
    """This agent cannot run here; the message says what is missing."""

    code = "agent_unavailable"


class Agent(Protocol):
    name: ClassVar[str]

    async def run(self, job: Job, emit: Emit, stop: asyncio.Event) -> AgentResult:
        """Do the job and leave no process behind.

        `emit` waits while the runner is behind. After `stop` the agent ends within seconds and answers `STOPPED`.
        """
        ...
