"""The agents, and which of them can run here. `noop` is not among them: it needs no sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from shutil import which

from remote_claude.worker.agents.base import Agent, AgentCannotRun

__all__ = ["NAMES", "AgentInfo", "available", "create"]

PROGRAMS = {
    "codex": ("Codex", "codex-acp", "@agentclientprotocol/codex-acp"),
    "gemini": ("Gemini CLI", "gemini", "@google/gemini-cli"),
    "opencode": ("OpenCode", "opencode", "opencode-ai"),
}
"""Agents that speak the Agent Client Protocol: what people call them, their program, and its packages of npm."""
NAMES = ("claude", *PROGRAMS, "shell")
NO_KEY = (
    "There is no model key of the operator: give yours with `rclaude model add anthropic`, or set ANTHROPIC_API_KEY (or "
    "ANTHROPIC_AUTH_TOKEN) in the environment that `rclaude up` is started in, then `rclaude down` and `rclaude up`."
)


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """`reason` says what to do when it is not available, or not to everybody."""

    name: str
    available: bool
    reason: str = ""


def available(env: Mapping[str, str]) -> list[AgentInfo]:
    """Each agent, and whether services started in this environment can run it."""
    return [_claude(env), *(_acp(name, env) for name in PROGRAMS), AgentInfo("shell", available=True)]


def create(name: str) -> Agent:
    """The agent of that name; takes seconds for `claude`. Raises `AgentCannotRun`."""
    match name:
        case "claude":
            if find_spec("claude_agent_sdk") is None:
                raise AgentCannotRun("Claude Code is not installed where the sandbox looks for it")
            from remote_claude.worker.agents.claude import ClaudeAgent

            return ClaudeAgent()
        case "opencode" | "codex" | "gemini":
            if find_spec("acp") is None:
                raise AgentCannotRun(
                    "the package agent-client-protocol is not installed where the sandbox looks for it"
                )
            from remote_claude.worker.agents import acp_agents

            if name == "opencode":
                return acp_agents.OpenCodeAgent()
            return acp_agents.CodexAgent() if name == "codex" else acp_agents.GeminiAgent()
        case "shell":
            from remote_claude.worker.agents.shell import ShellAgent

            return ShellAgent()
        case _:
            raise AgentCannotRun(f"no agent {name!r}: there are {', '.join(NAMES)}")


def _claude(env: Mapping[str, str]) -> AgentInfo:
    if find_spec("claude_agent_sdk") is None:
        return AgentInfo(
            "claude",
            available=False,
            reason="Claude Code is not installed: pip install 'remote-claude-worker[claude]', then start again.",
        )
    if not (env.get("ANTHROPIC_API_KEY") or env.get("ANTHROPIC_AUTH_TOKEN")):
        return AgentInfo("claude", available=True, reason=NO_KEY)
    return AgentInfo("claude", available=True)


def _acp(name: str, env: Mapping[str, str]) -> AgentInfo:
    called, program, packages = PROGRAMS[name]
    if find_spec("acp") is None:
        reason = "The protocol is missing: pip install 'remote-claude-worker[acp]', then start again."
    elif which(program, path=env.get("PATH")) is None:
        reason = f"{called} is not installed: npm install -g {packages}, then start again."
    else:
        return AgentInfo(name, available=True)
    return AgentInfo(name, available=False, reason=reason)
