"""Who the commit of a task is by."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from remote_claude.cli import config
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.repository.git import Repository

_IDENTITY = re.compile(r"([^<>]*[^<>\s])\s*<([^<>\s]+)>")


def author_of(given: str | None, local: Repository | None) -> dict[str, str] | None:
    """As it was given, otherwise the setting `author`, otherwise Git's own identity; None without any.

    Raises `CliError`.
    """
    text = given or config.setting("author")
    if text:
        found = _IDENTITY.fullmatch(text.strip())
        if found is None:
            raise CliError(f"not an author: {text!r}; authors are NAME <EMAIL>", Exit.USAGE)
    else:
        found = _IDENTITY.match(_git_identity(local.top if local is not None else Path.cwd()))
    return {"name": found[1].strip()[:200], "email": found[2][:200]} if found is not None else None


def _git_identity(folder: Path) -> str:
    """`NAME <EMAIL>` and a time; empty where Git knows nobody."""
    command = ["git", "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
