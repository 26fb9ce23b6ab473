"""Bringing a task's result into a repository, and being refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remote_claude.cli.repository import Applied, RepositoryError, apply
from repositories import TASK, Repo, everything

LINES = "".join(f"line {n}\n" for n in range(20))


def bring(
    repo: Repo, result: Path, *, commit: bool = True, sent: str | None = None, **options: bool
) -> Applied:
    return apply(
        repo.repository,
        result,
        task=TASK,
        agent="shell",
        message="Fix it\n\nAt last.\n",
        commit=commit,
        sent=sent,
        **options,
    )


def edit(**files: str) -> Callable[[Path], object]:
    """An agent that writes files; `None` deletes."""
    return lambda workspace: Repo(workspace).write(
        {name.replace("__", "/"): text for name, text in files.items()}
    )


def edits(files: dict[str, str]) -> Callable[[Path], object]:
    return lambda workspace: Repo(workspace).write(files)


def refused(repo: Repo, result: Path, code: str = "apply_conflict", **options: Any) -> RepositoryError:
    """Applying fails with `code`, and leaves everything as it was."""
    before = everything(repo.path)
    with pytest.raises(RepositoryError) as caught:
        bring(repo, result, **options)
    assert caught.value.code == code, caught.value
    after = everything(repo.path)
    git_dir = str(repo.path / ".git")
    before.pop(git_dir), after.pop(git_dir)  # the lock came and went
    assert after == before
    return caught.value
