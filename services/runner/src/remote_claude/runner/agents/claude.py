"""Claude Code, the real one, through `claude-agent-sdk`. Importing this takes seconds: `agents.create` does it when asked.

It runs unattended, with every tool permitted: the sandbox is the fence. The key in its environment is a placeholder;
the model proxy outside puts the real one in its place.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from decimal import Decimal
from typing import Any, ClassVar, cast

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKError,
    ProcessError,
    ResultMessage,
    ServerToolUseBlock,
    SystemMessage,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
    query,
)

from remote_claude.runner.agents.base import STOPPED, AgentResult, Emit, Job
from remote_claude.runner.agents.bridge import bridge
from remote_claude.runner.agents.claude_settings import failed_servers, overridden_settings, own_settings
from remote_claude.runner.agents.processes import end_descendants
from remote_claude.runner.frames import Frame, Output, Text, Thinking, ToolCall, ToolResult, Usage

PLACEHOLDER_KEY = "sk-ant-placeholder-the-proxy-has-the-key"
_MAX_SDK_MESSAGE = 64 * 1024 * 1024  # a tool's result is one line of its output


class ClaudeAgent:
    name: ClassVar[str] = "claude"

    async def run(self, job: Job, emit: Emit, stop: asyncio.Event) -> AgentResult:
        async with bridge(job.model_socket) as base_url, asyncio.TaskGroup() as group:
            conversation = group.create_task(_converse(job, base_url, emit))
            stopped = group.create_task(stop.wait())
            await asyncio.wait({conversation, stopped}, return_when=asyncio.FIRST_COMPLETED)
            await end_descendants()
            stopped.cancel()
            if stop.is_set():
                conversation.cancel()
        return STOPPED if stop.is_set() else conversation.result()


async def _converse(job: Job, base_url: str, emit: Emit) -> AgentResult:
    errors: deque[str] = deque(maxlen=20)
    environment = {
        "ANTHROPIC_BASE_URL": base_url,
        "ANTHROPIC_API_KEY": PLACEHOLDER_KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",  # otherwise it refuses to work unattended as root
        "NO_PROXY": "127.0.0.1,localhost",
    }
    options = ClaudeAgentOptions(
        cwd=job.workspace,
        model=job.model,
        permission_mode="bypassPermissions",
        system_prompt={"type": "preset", "preset": "claude_code"},
        setting_sources=["user", "project", "local"],
        max_buffer_size=_MAX_SDK_MESSAGE,
        stderr=errors.append,
        env=environment,
        settings=json.dumps(own_settings(environment)),
    )
    for name in overridden_settings(job.workspace, environment):
        await emit(
            Output(
                stream="stderr", text=f"{name} of the repository is not used here: the task's own stands\n"
            )
        )
    result: ResultMessage | None = None
    try:
        async with aclosing(
            cast(AsyncGenerator[Any, None], query(prompt=job.prompt, options=options))
        ) as said:
            async for message in said:
                async for frame in _frames(message):
                    await emit(frame)
                if isinstance(message, ResultMessage):
                    result = message
    except ProcessError as error:
        # It also ends with an error after it has said in its result what was wrong: then that is the better word.
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
    return AgentResult(outcome="succeeded", text=text)


async def _frames(message: object) -> AsyncIterator[Frame]:
    match message:
        case AssistantMessage(content=blocks) | UserMessage(content=list(blocks)):
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
            yield Usage(tokens=_tokens(models), cost_nano_usd=_nano_usd(cost))


def _text(content: str | list[dict[str, Any]] | None) -> str:
    """A tool's result as text: what is no text is named."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(
        part["text"] if part.get("type") == "text" else f"[{part.get('type')}]" for part in content
    )


def _retry(data: dict[str, Any]) -> str:
    known = ("error_status", "error", "attempt", "max_retries", "retry_delay_ms")
    return (
        f"the model does not answer, trying again: {json.dumps({k: data[k] for k in known if k in data})}\n"
    )


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
