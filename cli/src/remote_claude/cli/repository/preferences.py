"""What a repository on this disk asks for its tasks: `.rclaude.toml`, otherwise the image of its devcontainer."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from remote_claude.cli.errors import CliError, Exit

FILE, DEVCONTAINER = ".rclaude.toml", ".devcontainer/devcontainer.json"
TEXTS = ("agent", "model", "image", "network", "provider")
CLAUDE_TEXTS = ("system_prompt", "append_system_prompt")
IN_SANDBOX = ("setup", "setup_timeout_s", "checks", "env")
"""Read by the worker."""
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)


def preferences(top: Path) -> tuple[dict[str, Any], str]:
    """Fields of a submission, for those that no option names, and the file that names them. Raises `CliError`."""
    own, container = top / FILE, top / DEVCONTAINER
    try:
        if own.is_file():
            return _own(tomllib.loads(own.read_text())), FILE
        if container.is_file():
            document = json.loads(_COMMENT.sub(lambda m: m[1] or "", container.read_text()))
            image = document.get("image") if isinstance(document, dict) else None
            usable = isinstance(image, str) and "${" not in image
            return ({"image": image} if usable else {}), DEVCONTAINER
    except (ValueError, UnicodeDecodeError) as error:
        file = own if own.is_file() else container
        raise CliError(f"{file}: {error}", Exit.USAGE, code="setup_invalid") from error
    return {}, ""


def _own(document: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(set(document) - {*TEXTS, *IN_SANDBOX, "secrets", "claude"}):
        known = ", ".join((*TEXTS, "secrets", "claude", *IN_SANDBOX))
        raise ValueError(f"there is no setting {unknown[0]!r}; there are: {known}")
    found: dict[str, Any] = {}
    for name in TEXTS:
        if name in document:
            if not isinstance(document[name], str):
                raise ValueError(f"{name} is a text")
            found[name] = document[name]
    secrets = document.get("secrets", [])
    if not isinstance(secrets, list) or not all(isinstance(name, str) for name in secrets):
        raise ValueError("secrets is a list of names")
    if "claude" in document:
        found["agent_options"] = _claude(document["claude"])
    return found | ({"secrets": secrets} if secrets else {})


def _claude(section: Any) -> dict[str, Any]:
    """The section `[claude]`: what Claude Code is told besides its prompt."""
    if not isinstance(section, dict) or (unknown := sorted(set(section) - {*CLAUDE_TEXTS, "allowed_tools"})):
        named = f" {unknown[0]!r}" if isinstance(section, dict) else ""
        raise ValueError(f"[claude] has no setting{named}; it has: allowed_tools, {', '.join(CLAUDE_TEXTS)}")
    if not all(isinstance(section[name], str) for name in CLAUDE_TEXTS if name in section):
        raise ValueError(f"{' and '.join(CLAUDE_TEXTS)} of [claude] are texts")
    tools = section.get("allowed_tools", [])
    if not isinstance(tools, list) or not all(isinstance(tool, str) for tool in tools):
        raise ValueError("allowed_tools of [claude] is a list of texts")
    return dict(section)
