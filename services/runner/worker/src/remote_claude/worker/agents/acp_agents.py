"""The programs that speak the Agent Client Protocol, and what each is told of its model and of permissions.

The key in an agent's environment is a placeholder; the model proxy outside puts the real one in its place. Nothing of a
program's own calls home.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from remote_claude.worker.agents.acp import AcpAgent
from remote_claude.worker.agents.base import AgentCannotRun, Job

PLACEHOLDER_KEY = "sk-placeholder-the-proxy-has-the-key"


class OpenCodeAgent(AcpAgent):
    """Anthropic's API, or one compatible with OpenAI's Chat Completions."""

    name: ClassVar[str] = "opencode"
    command: ClassVar[tuple[str, ...]] = ("opencode", "acp")

    def environment(self, job: Job, model_url: str) -> Mapping[str, str]:
        provider = "anthropic" if job.model_api == "anthropic" else "compatible"
        model = job.model or ("claude-sonnet-5" if provider == "anthropic" else _named(job))
        permission = {"all": "allow"}.get(job.permission_mode, "ask")
        settings = {
            "options": {"baseURL": f"{model_url}/v1", "apiKey": PLACEHOLDER_KEY},
            "models": {model: {}},
        }
        if provider == "compatible":
            settings |= {"npm": "@ai-sdk/openai-compatible", "name": "the model of the task"}
        config = {
            "provider": {provider: settings},
            "enabled_providers": [provider],
            "model": f"{provider}/{model}",
            "small_model": f"{provider}/{model}",
            "autoupdate": False,
            "share": "disabled",
            "permission": {"edit": permission, "bash": permission, "webfetch": permission},
        }
        switched_off = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS")
        return {
            "OPENCODE_CONFIG_CONTENT": json.dumps(config),
            **{f"OPENCODE_DISABLE_{name}": "1" for name in switched_off},
        }


class CodexAgent(AcpAgent):
    """OpenAI's Codex through its adapter `codex-acp`: OpenAI's Responses."""

    name: ClassVar[str] = "codex"
    command: ClassVar[tuple[str, ...]] = ("codex-acp",)
    modes: ClassVar[Mapping[str, str]] = {
        "all": "agent-full-access",  # the sandbox around it is what protects the machine
        "edits": "workspace-write",
        "ask": "read-only",
    }

    def session_mode(self, job: Job) -> str | None:
        return self.modes[job.permission_mode]

    def environment(self, job: Job, model_url: str) -> Mapping[str, str]:
        config = {
            "model": _named(job),
            "model_provider": "task",
            "model_providers": {
                "task": {
                    "name": "the model of the task",
                    "base_url": f"{model_url}/v1",
                    "wire_api": "responses",
                    "env_key": "CODEX_API_KEY",
                }
            },
            "web_search": "disabled",
            "check_for_update_on_startup": False,
            "analytics": {"enabled": False},
        }
        return {
            "CODEX_CONFIG": json.dumps(config),
            "CODEX_API_KEY": PLACEHOLDER_KEY,
            "MODEL_PROVIDER": "task",
            "NO_BROWSER": "1",
        }


class GeminiAgent(AcpAgent):
    """Google's Gemini CLI: the Gemini API."""

    name: ClassVar[str] = "gemini"
    command: ClassVar[tuple[str, ...]] = ("gemini", "--acp")
    auth_method: ClassVar[str | None] = "gemini-api-key"

    def arguments(self, job: Job) -> tuple[str, ...]:
        mode = "yolo" if job.permission_mode == "all" else "default"
        return ("--approval-mode", mode, *(("--model", job.model) if job.model else ()))

    def environment(self, job: Job, model_url: str) -> Mapping[str, str]:
        settings = {
            "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
            "privacy": {"usageStatisticsEnabled": False},
            "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        }
        file = Path(tempfile.mkdtemp(prefix="gemini-")) / "settings.json"
        file.write_text(json.dumps(settings))
        return {
            "GEMINI_API_KEY": PLACEHOLDER_KEY,
            "GOOGLE_GEMINI_BASE_URL": model_url,
            "GEMINI_CLI_SYSTEM_SETTINGS_PATH": str(file),
            "GEMINI_TELEMETRY_ENABLED": "false",
        }


def _named(job: Job) -> str:
    if job.model is None:
        raise AgentCannotRun(
            "the task names no model: give --model, or store a default with the key (`rclaude model add NAME --model MODEL`)"
        )
    return job.model
