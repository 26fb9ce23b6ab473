"""Claude Code's settings: those of the task replace those of the repository; what was replaced is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PROJECT_FILES = (".claude/settings.json", ".claude/settings.local.json")
WAY_TO_THE_MODEL = (
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BEDROCK_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_FOUNDRY_BASE_URL",
    "ANTHROPIC_UNIX_SOCKET",
    "ANTHROPIC_VERTEX_BASE_URL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_VERTEX",
)
"""Variables that would lead away from the model that the task was given. An empty one counts as unset."""
PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "http_proxy", "https_proxy")


def own_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """What goes in as `--settings`, above user, project and local ones. The repository's MCP servers may start."""
    away = dict.fromkeys((*WAY_TO_THE_MODEL, *PROXIES), "")
    return {"env": away | dict(environment), "enableAllProjectMcpServers": True}


def overridden_settings(workspace: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """`FILE: NAME` of each setting of the repository that gives way."""
    ours = {*WAY_TO_THE_MODEL, *PROXIES, *environment}
    for name in PROJECT_FILES:
        settings = _json(workspace / name)
        variables = settings.get("env")
        for variable in sorted(ours & variables.keys()) if isinstance(variables, dict) else ():
            yield f"{name}: env.{variable}"
        if settings.get("apiKeyHelper"):
            yield f"{name}: apiKeyHelper"


def failed_servers(started: Mapping[str, Any]) -> Iterator[str]:
    """Names of the MCP servers that did not start, by the agent's first message."""
    servers = started.get("mcp_servers")
    for server in servers if isinstance(servers, list) else ():
        if isinstance(server, dict) and server.get("status") == "failed":
            yield str(server.get("name"))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}  # Claude Code says so itself
    return value if isinstance(value, dict) else {}
