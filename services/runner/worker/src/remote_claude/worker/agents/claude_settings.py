"""Claude Code's settings: those of the task replace those of the repository; what was replaced is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from remote_claude.worker.agents.base import Job

PLACEHOLDER_KEY = "sk-ant-placeholder-the-proxy-has-the-key"
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


def way_to_the_model(job: Job, model_url: str) -> dict[str, str]:
    """The variables that lead to the proxy, which has the key: by Anthropic's API, Bedrock's or Vertex's."""
    match job.model_api:
        case "bedrock":
            way = {
                "CLAUDE_CODE_USE_BEDROCK": "1",
                "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1",
                "ANTHROPIC_BEDROCK_BASE_URL": model_url,
                "AWS_REGION": job.model_region or "",
            }
        case "vertex":
            way = {
                "CLAUDE_CODE_USE_VERTEX": "1",
                "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1",
                "ANTHROPIC_VERTEX_BASE_URL": f"{model_url}/v1",
                "ANTHROPIC_VERTEX_PROJECT_ID": job.model_project or "",
                "CLOUD_ML_REGION": job.model_region or "",
            }
        case _:
            return {"ANTHROPIC_BASE_URL": model_url, "ANTHROPIC_API_KEY": PLACEHOLDER_KEY}
    # Its own choice for small jobs may be a model that the account has not enabled.
    return way | ({"ANTHROPIC_DEFAULT_HAIKU_MODEL": job.model} if job.model else {})


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
