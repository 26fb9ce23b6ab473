"""What an agent promises, and what it is given. Importing this is cheap: the worker does it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

from remote_claude.worker.protocol.frames import Frame, Outcome
from remote_claude.worker.protocol.messages import PermissionAnswer, TaskMessage

Emit: TypeAlias = Callable[[Frame], Awaitable[None]]
Ask: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[PermissionAnswer]]
"""Asks a person whether a tool may be used with this input."""
OnTurn: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an agent is to do, and where.

    `model_url` is a port of the sandbox's loopback that leads to the model proxy, which has the key; None where the
    runner has no model. `model_api` is what it speaks, see `Assignment`. `environment` is added to that of the agent's processes. `continues`: what is restored is of an
    earlier task, and the prompt follows it. `permission_mode` is what the agent may do without asking.
    """

    task: str
    attempt: int
    prompt: str
    workspace: Path
    model_url: str | None = None
    model: str | None = None
    agent_options: Mapping[str, Any] = field(default_factory=dict)
    """Of Claude Code, see `Assignment`."""
    model_api: str = "anthropic"
    model_region: str | None = None
    model_project: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    continues: bool = False
    permission_mode: Literal["all", "edits", "ask"] = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """The conversation around the agent: what people send, and what the next attempt continues from.

    `restored` is what the agent passed to `ended` last, in an earlier attempt; None at a first start.
    """

    messages: asyncio.Queue[TaskMessage]
    ended: OnTurn
    """After a turn, the last one too: the state to continue from. Returns once it is noted; it is saved in the background."""
    ask: Ask
    restored: Mapping[str, Any] | None = None
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    """A message is to be taken at once: the agent ends its turn, and clears this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """The result. `reason` is one of `protocol.messages.Finished`, `text` what the agent said last, or its error.

    `summary` is what the agent says it has done, in Markdown; its first line is fit for a commit's subject.
    """

    outcome: Outcome
    text: str
    summary: str = ""
    reason: str | None = None
    exit_code: int | None = None


STOPPED = AgentResult(outcome="failed", reason="stopped", text="stopped before it had finished")


class AgentCannotRun(Exception):
    """This agent cannot run here; the message says what is missing."""

    code = "agent_unavailable"


class Agent(Protocol):
    name: ClassVar[str]

    async def run(self, job: Job, turns: Turns, emit: Emit, stop: asyncio.Event) -> AgentResult:
        """Do the job, then what the messages ask for, and leave no process behind.

        `emit` waits while the runner is behind. After `stop` the agent ends within seconds and answers `STOPPED`.
        """
        ...
