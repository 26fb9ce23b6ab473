"""Where the CLI finds its server and its key: flag before environment before file before the embedded stack."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remote_claude.cli.errors import CliError, Exit

KEYS = {
    "url": "Address of the server, such as https://rclaude.example.com; unset: the embedded stack.",
    "api_key": "API key, rck_...; unset: the embedded stack's own.",
    "agent": "Agent of `rclaude run`: claude, shell, noop. Unset: claude.",
}


def home() -> Path:
    """`RCLAUDE_HOME`, by default `~/.rclaude`."""
    return Path(os.environ.get("RCLAUDE_HOME") or "~/.rclaude").expanduser().absolute()


def path() -> Path:
    """The configuration file."""
    return home() / "config.json"


def load() -> dict[str, str]:
    """The file's settings. Raises `CliError` when it is damaged."""
    try:
        content = json.loads(path().read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise CliError(f"{path()} can't be read ({error}); mend it or remove it", Exit.USAGE) from error
    if not isinstance(content, dict):
        raise CliError(f"{path()} does not hold a JSON object; mend it or remove it", Exit.USAGE)
    return {key: str(value) for key, value in content.items() if key in KEYS}


def save(settings: dict[str, str]) -> None:
    """Write the file, whole or not at all, for its owner only."""
    path().parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path().with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(settings, file, indent=1, sort_keys=True)
        file.write("\n")
    draft.replace(path())


def setting(name: str, flag: str | None = None) -> str | None:
    """One setting: flag, then `RCLAUDE_<NAME>`, then the file."""
    return flag or os.environ.get(f"RCLAUDE_{name.upper()}") or load().get(name)


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the key to it. One that is `supervised` comes back by itself when it is away."""

    url: str
    api_key: str
    supervised: bool = False


def stack_file() -> dict[str, Any] | None:
    """What the embedded stack of this home says about itself; None when none runs."""
    try:
        stack: dict[str, Any] = json.loads((home() / "run" / "stack.json").read_text())
        pid = int(stack["pid"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    # the lock is asked last and seldom: to ask is to hold it for a moment, and a stack may be just about to
    return stack if _lives(pid) and holder() == pid else None


def _lives(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()


def holder() -> int | None:
    """The process that holds this home, as its lock says; also while the stack starts, or its file is damaged."""
    try:
        with (home() / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read())
    except (FileNotFoundError, ValueError):
        pass
    return None


def target() -> Target | None:
    """The server to talk to; None when it is to be the embedded stack and none runs."""
    url, api_key = setting("url"), setting("api_key")
    if url:
        if not url.startswith(("http://", "https://")):
            raise CliError(
                f"not an address: {url!r}; it begins with https:// (RCLAUDE_URL, or `rclaude config`)",
                Exit.USAGE,
            )
        if not api_key:
            raise CliError(
                f"{url} needs an API key: set RCLAUDE_API_KEY, or `rclaude config api_key rck_...`",
                Exit.REFUSED,
            )
        if not (api_key.isascii() and api_key.isprintable()):
            raise CliError("not an API key: one is rck_ and 38 letters and digits", Exit.USAGE)
        return Target(url.rstrip("/"), api_key)
    stack = stack_file()
    if stack is None:
        return None
    return Target(stack["url"], api_key or Path(stack["api_key"]).read_text().strip(), supervised=True)
