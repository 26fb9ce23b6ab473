"""Claude Code, the real one, through `claude-agent-sdk`. Importing this takes seconds: `agents.create` does it when asked.

Unless the task says otherwise every tool is permitted: the sandbox is what protects the machine. The key in its environment is a placeholder;
the model proxy outside puts the real one in its place.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import claude_agent_sdk as sdk
from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ClaudeSDKError,
    ProcessError,
    ResultMessage,
    ServerToolUseBlock,
    SystemMessage,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

from remote_claude.worker.agents.base import STOPPED, AgentCannotRun, AgentResult, Ask, Emit, Job, Turns
from remote_claude.worker.agents.claude_settings import (
    failed_servers,
    overridden_settings,
    own_settings,
    way_to_the_model,
)
from remote_claude.worker.agents.claude_transcript import Transcript
from remote_claude.worker.agents.processes import end_descendants
from remote_claude.worker.first_of import first_of
from remote_claude.worker.protocol.frames import (
    Frame,
    Output,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
    UserMessage,
)
from remote_claude.worker.protocol.messages import TaskMessage

CONTINUE = (
    "The sandbox was lost and restored from the last turn. Files that Git ignores may be missing. "
    "Continue the task from where you were."
)
SUMMARY = (
    "When you have changed files, your last message is used as the commit message and the description of a pull request. "
    "Begin it with one line in the imperative mood, at most 72 characters, without Markdown, that says what the change does. "
    "After an empty line, say in a few sentences what you changed and why."
)
PERMISSION_MODES: Mapping[str, sdk.PermissionMode] = {
    "all": "bypassPermissions",
    "edits": "acceptEdits",
    "ask": "default",
}
DENIED = "The person who started this task does not permit it."
_MAX_SDK_MESSAGE = 64 * 1024 * 1024  # a tool's result is one line of its output


class ClaudeAgent:
    name: ClassVar[str] = "claude"

    async def run(self, job: Job, turns: Turns, emit: Emit, stop: asyncio.Event) -> AgentResult:
        if job.model_url is None:
            raise AgentCannotRun("this runner has no way to the model")
        async with asyncio.TaskGroup() as group:
            conversation = group.create_task(_converse(job, job.model_url, turns, emit))
            await first_of(conversation, stop.wait())
            await end_descendants()
            if stop.is_set():
                conversation.cancel()
        return STOPPED if stop.is_set() else conversation.result()


def _environment(job: Job, model_url: str) -> dict[str, str]:
    return {
        **job.environment,
        **way_to_the_model(job, model_url),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",  # otherwise it refuses to work unattended as root
        "NO_PROXY": "127.0.0.1,localhost",
    }


def _options(
    job: Job, environment: dict[str, str], session: str | None, errors: deque[str], ask: Ask
) -> ClaudeAgentOptions:
    return ClaudeAgentOptions(
        cwd=job.workspace,
        model=job.model,
        resume=session,
        permission_mode=_permission_mode(job),
        allowed_tools=list(job.agent_options.get("allowed_tools", ())),
        mcp_servers=dict(job.agent_options.get("mcp_servers", {})),
        can_use_tool=None if job.permission_mode == "all" else _asking(ask),
        system_prompt=_system_prompt(job),
        setting_sources=["user", "project", "local"],
        max_buffer_size=_MAX_SDK_MESSAGE,
        stderr=errors.append,
        env=environment,
        settings=json.dumps(own_settings(environment)),
    )


def _permission_mode(job: Job) -> sdk.PermissionMode:
    """With a list of tools, an agent that asks nobody may use no other."""
    if job.permission_mode == "all" and job.agent_options.get("allowed_tools"):
        return "dontAsk"
    return PERMISSION_MODES[job.permission_mode]


def _system_prompt(job: Job) -> str | sdk.types.SystemPromptPreset:
    added = "\n\n".join(filter(None, (job.agent_options.get("append_system_prompt"), SUMMARY)))
    if own := job.agent_options.get("system_prompt"):
        return f"{own}\n\n{added}"
    return {"type": "preset", "preset": "claude_code", "append": added}


async def _converse(job: Job, model_url: str, turns: Turns, emit: Emit) -> AgentResult:
    """The prompt, or where the conversation was restored what is left of it, then each message."""
    errors: deque[str] = deque(maxlen=20)
    restored = turns.restored or {}
    waiting, prompt = turns.messages, job.prompt
    if job.continues:
        pass
    elif restored.get("done") and waiting.empty():
        text = str(restored.get("text", ""))
        return AgentResult(outcome="succeeded", text=text, summary=text)
    elif restored.get("done"):
        prompt = await _next(waiting, emit)
    elif restored:
        prompt = CONTINUE
    environment = _environment(job, model_url)
    for name in overridden_settings(job.workspace, environment):
        text = f"{name} of the repository is not used here: the task's own applies\n"
        await emit(Output(stream="stderr", text=text))
    session: str | None = None
    result: ResultMessage | None = None
    last: str | None = None
    transcript = Transcript(Path.home())
    try:
        async with ClaudeSDKClient(
            _options(job, environment, restored.get("session"), errors, turns.ask)
        ) as client:
            await client.query(prompt)
            interrupting = asyncio.create_task(_interrupt(client, turns.interrupted))
            async for message in client.receive_messages():
                async for frame in _frames(message):
                    await emit(frame)
                match message:
                    case AssistantMessage(parent_tool_use_id=None, session_id=str(session), uuid=last):
                        pass
                    case sdk.UserMessage(parent_tool_use_id=None, content=list(), uuid=id_) if session:
                        await transcript.wait_for(session, id_)
                        await turns.ended({"session": session})  # the model has answered, its tools have run
                    case ResultMessage():
                        result = message
                        interrupting.cancel()
                        if message.is_error and not turns.interrupted.is_set():
                            break
                        turns.interrupted.clear()
                        await transcript.wait_for(message.session_id, last)
                        await turns.ended(
                            {"session": message.session_id, "done": True, "text": message.result}
                        )
                        if waiting.empty():
                            break
                        await client.query(await _next(waiting, emit))
                        interrupting = asyncio.create_task(_interrupt(client, turns.interrupted))
    except ProcessError as error:
        # It also ends with an error after its result has explained it: then the result says more.
        if result is None:
            text = "\n".join(errors) or str(error)
            return AgentResult(outcome="failed", reason="agent_exited", text=text, exit_code=error.exit_code)
    except ClaudeSDKError as error:
        return AgentResult(outcome="failed", reason="agent_failed", text=str(error))
    if result is None:
        return AgentResult(outcome="failed", reason="agent_failed", text="Claude Code ended without a result")
    text = result.result or "\n".join(result.errors or ()) or result.subtype
    if result.is_error:  # `subtype` says success even when the model could not be reached
        return AgentResult(outcome="failed", reason="agent_failed", text=text)
    return AgentResult(outcome="succeeded", text=text, summary=text)


def _asking(ask: Ask) -> sdk.CanUseTool:
    """What Claude Code calls before it uses a tool that needs a permission."""

    async def permitted(
        name: str, given: dict[str, Any], context: sdk.ToolPermissionContext
    ) -> sdk.PermissionResultAllow | sdk.PermissionResultDeny:
        answer = await ask(name, given)
        match answer.decision:
            case "deny":
                return sdk.PermissionResultDeny(message=answer.text or DENIED)
            case "allow_always":
                updates = [replace(one, destination="session") for one in context.suggestions] or [
                    _rule(name)
                ]
                return sdk.PermissionResultAllow(updated_permissions=updates)
            case _:
                return sdk.PermissionResultAllow()

    return permitted


def _rule(tool: str) -> sdk.PermissionUpdate:
    """Permits a tool for the rest of the session."""
    rules = [sdk.types.PermissionRuleValue(tool_name=tool)]
    return sdk.PermissionUpdate(type="addRules", rules=rules, behavior="allow", destination="session")


async def _interrupt(client: ClaudeSDKClient, interrupted: asyncio.Event) -> None:
    """End the current turn once a message is to be taken at once."""
    await interrupted.wait()
    await client.interrupt()


async def _next(waiting: asyncio.Queue[TaskMessage], emit: Emit) -> str:
    message = waiting.get_nowait()
    await emit(UserMessage(text=message.text))
    return message.text


async def _frames(message: object) -> AsyncIterator[Frame]:
    match message:
        case AssistantMessage(content=blocks) | sdk.UserMessage(content=list(blocks)):
            for block in blocks:
                match block:
                    case TextBlock(text=text) if isinstance(message, AssistantMessage):
                        yield Text(text=text)
                    case ThinkingBlock(thinking=text) if text:
                        yield Thinking(text=text)
                    case (
                        ToolUseBlock(id=id_, name=name, input=given)
                        | ServerToolUseBlock(id=id_, name=name, input=given)
                    ):
                        yield ToolCall(id=id_, name=name, input=given)
                    case ToolResultBlock(tool_use_id=id_, content=content, is_error=is_error):
                        yield ToolResult(id=id_, content=_text(content), is_error=bool(is_error))
        case SystemMessage(subtype="init", data=data):
            for name in failed_servers(data):
                yield Output(stream="stderr", text=f"the MCP server {name} of .mcp.json did not start\n")
        case SystemMessage(subtype="api_retry", data=data):
            yield Output(stream="stderr", text=_retry(data))
        case ResultMessage(model_usage=dict(models), total_cost_usd=cost):
            yield Usage(tokens=_tokens(models), cost_nano_usd=_nano_usd(cost), source="agent")


def _text(content: str | list[dict[str, Any]] | None) -> str:
    """A tool's result as text: what is no text is named."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(
        part["text"] if part.get("type") == "text" else f"[{part.get('type')}]" for part in content
    )


def _retry(data: Mapping[str, Any]) -> str:
    """One sentence for people: what the service answered, and when it is asked again."""
    status = data.get("error_status")
    answered = f"The model's service answered {status}." if status else "The model's service does not answer."
    again = "Trying again"
    if isinstance(delay := data.get("retry_delay_ms"), int | float):
        again += f" in {delay / 1000:.1f} s"
    if data.get("attempt") and data.get("max_retries"):
        again += f" ({data['attempt']} of {data['max_retries']})"
    return f"{answered} {again}.\n"


def _tokens(models: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Tokens by model and kind, as the agent counts them."""
    return {
        model: {
            "input": used["inputTokens"],
            "output": used["outputTokens"],
            "cache_read": used["cacheReadInputTokens"],
            "cache_write_5m": used["cacheCreationInputTokens"] - used.get("cacheCreationEphemeral1hInputTokens", 0),
            "cache_write_1h": used.get("cacheCreationEphemeral1hInputTokens", 0),
        }
        for model, used in models.items()
    }  # fmt: skip


def _nano_usd(dollars: float | None) -> int:
    return int((Decimal(str(dollars or 0)) * 10**9).to_integral_value())
