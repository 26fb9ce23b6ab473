"""What a repository says of its sandbox: `.rclaude.toml`, otherwise `.devcontainer/devcontainer.json`.

The worker reads the set-up step, the checks and variables. Agent, image, network and secrets are for the one who submits the
task: the command line reads them where the repository is on its disk.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = ".rclaude.toml"
DEVCONTAINER = ".devcontainer/devcontainer.json"
SETUP_S, MAX_SETUP_S = 600.0, 7200.0
"""How long the set-up step may take unless the file says otherwise, and at the most."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STRING_OR_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


class SetupInvalid(Exception):
    """The file can't be read; the message says where."""

    code = "setup_invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """`command` prepares the sandbox before the agent; each of `checks` has to succeed after it. `file` says so.

    `notes` are what of the file is not used here.
    """

    file: str = ""
    command: str | None = None
    timeout_s: float = SETUP_S
    checks: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read(workspace: Path) -> Setup:
    """Of the repository in this folder. Raises `SetupInvalid`."""
    own, container = workspace / FILE, workspace / DEVCONTAINER
    try:
        if own.is_file():
            return _own(tomllib.loads(own.read_text()))
        if container.is_file():
            return _devcontainer(json.loads(_plain_json(container.read_text())))
    except (OSError, ValueError, TypeError) as error:
        name = FILE if own.is_file() else DEVCONTAINER
        raise SetupInvalid(f"{name} can't be used: {error}") from error
    return Setup()


def _own(document: Mapping[str, Any]) -> Setup:
    timeout = document.get("setup_timeout_s", SETUP_S)
    if not isinstance(timeout, int | float) or not 0 < timeout <= MAX_SETUP_S:
        raise ValueError(f"setup_timeout_s is a number of seconds up to {MAX_SETUP_S:g}")
    return Setup(
        file=FILE,
        command=_text(document, "setup"),
        timeout_s=float(timeout),
        checks=_texts(document.get("checks", []), "checks"),
        environment=_environment(document.get("env", {}), "env"),
    )


def _devcontainer(document: Any) -> Setup:
    if not isinstance(document, dict):
        raise ValueError("it is no object")
    command = document.get("postCreateCommand")
    match command:
        case list():
            command = shlex.join(_texts(command, "postCreateCommand"))
        case dict():
            command = " && ".join(_texts(list(command.values()), "postCreateCommand"))
        case str() | None:
            pass
        case _:
            raise ValueError("postCreateCommand is a text, a list or an object")
    variables = _environment(document.get("containerEnv", {}), "containerEnv")
    kept = {name: value for name, value in variables.items() if "${" not in value}
    notes = [
        f"containerEnv.{name} is left out: it refers to ${{...}}" for name in variables if name not in kept
    ]
    notes += [
        f"{name} is not used here" for name in ("features", "build", "dockerComposeFile") if name in document
    ]
    return Setup(file=DEVCONTAINER, command=command or None, environment=kept, notes=tuple(notes))


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is a text")
    return value or None


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name} is a list of texts")
    return tuple(value)


def _environment(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError(f"{name} has texts as its values")
    for key in value:
        if not _NAME.fullmatch(key) or key.startswith("RCLAUDE_"):
            raise ValueError(f"{name}.{key} is no name of a variable that can be set")
    return dict(value)


def _plain_json(text: str) -> str:
    """Without comments and trailing commas, which `devcontainer.json` may have."""
    text = _STRING_OR_COMMENT.sub(lambda m: m[0] if m[0].startswith('"') else " ", text)
    return _TRAILING_COMMA.sub(lambda m: m[1] or "", text)
