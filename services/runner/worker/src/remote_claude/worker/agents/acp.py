"""Agents that speak the Agent Client Protocol (agentclientprotocol.com) on standard input and output.

Importing this takes a moment: `agents.create` does it when asked. `acp_agents` has the programs.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar, cast

import acp
from acp import schema

from remote_claude.worker.agents.base import STOPPED, AgentCannotRun, AgentResult, Ask, Emit, Job, Turns
from remote_claude.worker.agents.processes import end_descendants
from remote_claude.worker.first_of import first_of
from remote_claude.worker.protocol.frames import (
    Frame,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
    UserMessage,
)

CONTINUE = (
    "The sandbox was lost and restored from the last turn. Files that Git ignores may be missing. "
    "Continue the task from where you were."
)
MAX_MESSAGE = 64 * 1024 * 1024
DECISIONS: Mapping[str, tuple[str, ...]] = {
    "allow": ("allow_once", "allow_always"),
    "allow_always": ("allow_always", "allow_once"),
    "deny": ("reject_once", "reject_always"),
}
"""Kinds of the agent's options that stand for an answer, the best first."""
EDITING = frozenset({"edit", "delete", "move"})
"""Kinds of tools that change files."""


class AcpAgent(ABC):
    """Runs one program. Its conversation continues where the program can load a session."""

    name: ClassVar[str]
    command: ClassVar[tuple[str, ...]]

    auth_method: ClassVar[str | None] = None
    """How the program is told to use the key in its environment, if it has to be told."""

    def session_mode(self, job: Job) -> str | None:
        """The program's name for what it may do without asking, where its environment does not say it."""
        return None

    def arguments(self, job: Job) -> tuple[str, ...]:
        """What follows the command."""
        return ()

    @abstractmethod
    def environment(self, job: Job, model_url: str) -> Mapping[str, str]:
        """What the program's environment says of the model and of permissions."""

    async def run(self, job: Job, turns: Turns, emit: Emit, stop: asyncio.Event) -> AgentResult:
        if job.model_url is None:
            raise AgentCannotRun("this runner has no way to the model")
        async with asyncio.TaskGroup() as group:
            conversation = group.create_task(self._converse(job, job.model_url, turns, emit))
            await first_of(conversation, stop.wait())
            if stop.is_set():
                conversation.cancel()
            await end_descendants()
        return STOPPED if stop.is_set() else conversation.result()

    async def _converse(self, job: Job, model_url: str, turns: Turns, emit: Emit) -> AgentResult:
        restored, waiting = turns.restored or {}, turns.messages
        prompt: str = job.prompt
        if restored and not job.continues:
            if not restored.get("done"):
                prompt = CONTINUE
            elif waiting.empty():
                text = str(restored.get("text", ""))
                return AgentResult(outcome="succeeded", text=text, summary=text)
            else:
                prompt = await _next(turns, emit)
        client = _Client(job, emit, turns.ask)
        command, *arguments = (*self.command, *self.arguments(job))
        environment = {**os.environ, **job.environment, **self.environment(job, model_url)}
        try:
            async with acp.spawn_agent_process(
                cast(acp.Client, client),  # it offers no files and no terminals, and says so
                command,
                *arguments,
                env=environment,
                cwd=job.workspace,
                transport_kwargs={"limit": MAX_MESSAGE, "stderr": asyncio.subprocess.DEVNULL},
            ) as (connection, process):
                session = await _session(connection, job, restored.get("session"), self.auth_method)
                if (mode := self.session_mode(job)) is not None:
                    await connection.set_session_mode(session_id=session, mode_id=mode)
                client.speaking = True
                while True:
                    turn = asyncio.create_task(
                        connection.prompt(session_id=session, prompt=[acp.text_block(prompt)])
                    )
                    interrupting = asyncio.create_task(_interrupt(connection, session, turns))
                    try:
                        await first_of(turn, process.wait())
                    finally:
                        interrupting.cancel()
                    if not turn.done():
                        turn.cancel()
                        text = f"{self.name} ended in the middle of its turn"
                        return AgentResult(
                            outcome="failed", reason="agent_exited", text=text, exit_code=process.returncode
                        )
                    ended = turn.result()
                    turns.interrupted.clear()
                    text = await client.end_turn()
                    if ended.stop_reason not in ("end_turn", "cancelled"):
                        why = text or f"{self.name} stopped: {ended.stop_reason.replace('_', ' ')}"
                        return AgentResult(outcome="failed", reason="agent_failed", text=why)
                    await turns.ended({"session": session, "done": True, "text": text})
                    if waiting.empty():
                        return AgentResult(outcome="succeeded", text=text, summary=text)
                    prompt = await _next(turns, emit)
        except FileNotFoundError as error:
            raise AgentCannotRun(
                f"{self.name} is not installed in the sandbox: {command} is not found"
            ) from error
        except acp.RequestError as error:
            return AgentResult(outcome="failed", reason="agent_failed", text=str(error))


async def _session(connection: Any, job: Job, restored: str | None, auth_method: str | None) -> str:
    """The session of an earlier attempt if the agent can load it, otherwise a new one."""
    answer = await connection.initialize(
        protocol_version=acp.PROTOCOL_VERSION, client_capabilities=schema.ClientCapabilities()
    )
    if auth_method is not None:
        await connection.authenticate(method_id=auth_method)
    can_load = answer.agent_capabilities is not None and answer.agent_capabilities.load_session
    where = {"cwd": str(job.workspace), "mcp_servers": []}
    if restored is not None and can_load:
        await connection.load_session(session_id=restored, **where)
        return restored
    return str((await connection.new_session(**where)).session_id)


async def _interrupt(connection: Any, session: str, turns: Turns) -> None:
    await turns.interrupted.wait()
    await connection.cancel(session_id=session)


async def _next(turns: Turns, emit: Emit) -> str:
    message = turns.messages.get_nowait()
    await emit(UserMessage(text=message.text))
    return message.text


class _Client:
    """Receives what the agent does. What it says comes in pieces: a frame holds a paragraph, or what came before a tool."""

    def __init__(self, job: Job, emit: Emit, ask: Ask) -> None:
        self._job, self._send, self._ask = job, emit, ask
        self._started: dict[str, tuple[str, dict[str, Any]]] = {}
        """Tools whose call is not shown yet: their input may come later."""
        self._pieces: list[str] = []
        self._kind: type[Text] | type[Thinking] = Text
        self._said = ""
        self.speaking = False
        """False while a loaded session is replayed: none of that is shown."""

    def on_connect(self, connection: object) -> None:
        """Nothing to do."""

    async def end_turn(self) -> str:
        """What the agent said last."""
        await self._flush()
        return self._said

    async def request_permission(
        self, session_id: str, tool_call: Any, options: list[schema.PermissionOption], **_: Any
    ) -> schema.RequestPermissionResponse:
        if self._job.permission_mode == "all" or (
            self._job.permission_mode == "edits" and tool_call.kind in EDITING
        ):
            decision = "allow"
        else:
            await self._flush()
            name, given = str(tool_call.title or tool_call.kind or "tool"), _given(tool_call)
            decision = (await self._ask(name, given)).decision
        chosen = next((o for kind in DECISIONS[decision] for o in options if o.kind == kind), None)
        if chosen is None:
            return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))
        outcome = schema.AllowedOutcome(outcome="selected", option_id=chosen.option_id)
        return schema.RequestPermissionResponse(outcome=outcome)

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        if not self.speaking:
            return
        match update:
            case schema.AgentMessageChunk(content=schema.TextContentBlock(text=text)):
                await self._say(Text, text)
            case schema.AgentThoughtChunk(content=schema.TextContentBlock(text=text)):
                await self._say(Thinking, text)
            case schema.ToolCallStart() | schema.ToolCallProgress():
                await self._flush()
                await self._tool(update)
            case schema.UsageUpdate(cost=cost) if cost is not None and cost.currency == "USD":
                spent = int((Decimal(str(cost.amount)) * 10**9).to_integral_value())
                await self._send(Usage(tokens={}, cost_nano_usd=spent, source="agent"))

    async def _tool(self, update: Any) -> None:
        """A call is shown once it begins, its result once it has ended."""
        id_ = update.tool_call_id
        name, given = self._started.get(id_, ("", {}))
        name = name or str(update.title or update.kind or "tool")
        begun = given if given.get("shown") else {}
        if not begun:
            self._started[id_] = (name, _given(update) or given)
        if update.status in ("in_progress", "completed", "failed") and not begun:
            await self._send(ToolCall(id=id_, name=name, input=self._started[id_][1]))
            self._started[id_] = (name, {"shown": True})
        if update.status in ("completed", "failed"):
            self._started.pop(id_, None)
            await self._send(ToolResult(id=id_, content=_content(update), is_error=update.status == "failed"))

    async def _say(self, kind: type[Text] | type[Thinking], text: str) -> None:
        if kind is not self._kind:
            await self._flush()
            self._kind = kind
        self._pieces.append(text)

    async def _flush(self) -> None:
        text, self._pieces = "".join(self._pieces), []
        if not text.strip():
            return
        frame: Frame = self._kind(text=text)
        if self._kind is Text:
            self._said = text
        await self._send(frame)


def _given(tool_call: Any) -> dict[str, Any]:
    """The input of a tool, as far as it is known."""
    return dict(tool_call.raw_input) if isinstance(tool_call.raw_input, dict) else {}


def _content(update: Any) -> str:
    """A tool's result as text: what is no text is named."""
    parts = []
    for part in update.content or ():
        match part:
            case schema.ContentToolCallContent(content=schema.TextContentBlock(text=text)):
                parts.append(text)
            case schema.FileEditToolCallContent(path=path):
                parts.append(f"changed {path}")
            case _:
                parts.append(f"[{part.type}]")
    return "\n".join(parts)
