"""Where the CLI finds its server and its key: flag before environment before file before the embedded stack."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from remote_claude.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from remote_claude.cli.identity.profiles import Profile

AGENTS = ("claude", "codex", "gemini", "opencode", "shell", "noop")
"""Those that come with the product; `run --agent` takes others too, where a server offers them."""
API_KEY = re.compile("rck_[0-9A-Za-z]{38}")

KEYS = {
    "url": "Address of the server, such as https://rclaude.example.com; unset: the embedded stack.",
    "api_key": "API key, rck_...; unset: the embedded stack's own.",
    "agent": "Agent of `rclaude run`: claude, shell, noop. Unset: claude.",
    "author": "Author of commits, NAME <EMAIL>. Unset: Git's own identity.",
}


STACK = {
    "home", "pid", "pids", "version", "url", "org", "api_key", "nats_url", "nats_credentials", "postgres_dsn"
}  # fmt: skip
"""What a stack says of itself in its file."""


def home() -> Path:
    """`RCLAUDE_HOME`, by default `~/.rclaude`."""
    try:
        return Path(os.environ.get("RCLAUDE_HOME") or "~/.rclaude").expanduser().absolute()
    except RuntimeError as error:
        raise CliError(
            "this account has no home folder: set RCLAUDE_HOME to a folder of yours", Exit.USAGE
        ) from error


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
        raise CliError(f"{path()} can't be read ({error}); correct it or remove it", Exit.USAGE) from error
    if not isinstance(content, dict):
        raise CliError(f"{path()} does not hold a JSON object; correct it or remove it", Exit.USAGE)
    return {key: str(value) for key, value in content.items() if key in KEYS}


def check(name: str, value: str) -> None:
    """Refuse what can't be the value of a setting. Raises `CliError`."""
    refusal = None
    match name:
        case "agent" if value not in AGENTS:
            refusal = f"there is no agent {value!r}; there are: {', '.join(AGENTS)}"
        case "api_key" if not API_KEY.fullmatch(value):
            refusal = "not an API key: one is rck_ and 38 letters and digits"
        case "url" if not re.fullmatch(r"https?://[^/\s]+\S*", value):
            refusal = f"not an address: {value!r}; one is like https://rclaude.example.com"
    if refusal is not None:
        raise CliError(refusal, Exit.USAGE)


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
    """A server and the key to it, or the profile that one is signed in with. One that is `supervised` comes back by itself."""

    url: str
    api_key: str
    supervised: bool = False
    profile: Profile | None = None

    def headers(self) -> dict[str, str]:
        """What says in a request who asks, and for which organisation. Raises `CliError` for a session that has ended."""
        if self.profile is None:
            return {"Authorization": f"Bearer {self.api_key}"}
        from remote_claude.cli.identity import tokens

        headers = {"Authorization": f"Bearer {tokens.bearer(self.profile)}"}
        if self.profile.org:
            headers["Rclaude-Org"] = self.profile.org
        return headers


def stack_path() -> Path:
    """Where the embedded stack of this home says where it is. It is written whole or not at all."""
    return home() / "run" / "stack.json"


def stack_file() -> dict[str, Any] | None:
    """What the embedded stack of this home says about itself; None when none runs, or what it said is damaged."""
    try:
        stack = _read_stack_file()
    except (FileNotFoundError, ValueError):
        return None
    pid = stack["pid"]
    # the lock is asked last and seldom: to ask is to hold it for a moment, and a stack may be just about to
    return stack if _lives(pid) and holder() == pid else None


def _lives(pid: int) -> bool:
    return pid > 0 and Path(f"/proc/{pid}").exists()


def holder() -> int | None:
    """The stack that holds this home, by its process, as its lock says; also while it starts, or its file is damaged."""
    try:
        with (home() / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pid, *what = lock.read().split()
                return None if what == ["command"] else int(pid)
    except (FileNotFoundError, ValueError):
        pass
    return None


def held_for() -> float:
    """Seconds since the lock of this home was taken."""
    return max(0.0, time.time() - (home() / "lock").stat().st_mtime)


def is_stack_file_damaged() -> bool:
    """Whether there is one that says nothing."""
    try:
        _read_stack_file()
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def _read_stack_file() -> dict[str, Any]:
    stack = json.loads(stack_path().read_text())
    if not isinstance(stack, dict) or not stack.keys() >= STACK or not isinstance(stack["pid"], int):
        raise ValueError(f"{stack_path()} is not whole")
    return stack


def target() -> Target | None:
    """The server to talk to; None when it is to be the embedded stack and none runs.

    The first that is set: `RCLAUDE_URL`, the profile in use, the file, the embedded stack.
    """
    from remote_claude.cli.identity import local_orgs, profiles

    if (used := profiles.selected()) and (
        os.environ.get("RCLAUDE_PROFILE") or not os.environ.get("RCLAUDE_URL")
    ):
        return Target(used.url, "", profile=used)
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
    return Target(stack["url"], api_key or local_orgs.key() or owners_key(), supervised=True)


def owners_key() -> str:
    """The key of the embedded stack's owner. Raises `CliError`."""
    if (stack := stack_file()) is None:
        raise CliError("the embedded stack has ended meanwhile", Exit.UNREACHABLE, code="not_running")
    return Path(stack["api_key"]).read_text().strip()
