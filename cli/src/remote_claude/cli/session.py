"""What every command begins with: a client, and a stack to talk to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from remote_claude.cli import config, embedded
from remote_claude.cli.config import Target
from remote_claude.cli.errors import CliError, Exit

if (
    TYPE_CHECKING
):  # the HTTP library is read when there is a server to talk to: help and completion stay quick
    from remote_claude.cli.client import CliClient

TASK_ID = re.compile(r"task_[0-9a-z]{26}")
JUDGE_LABEL = "judge-of"
"""The label of a task that only judges another: the number of the candidate."""


def client_of(target: Target) -> CliClient:
    """A client of one server."""
    from remote_claude.cli.client import CliClient

    return CliClient(target)


def not_running() -> CliError:
    """Why there is no stack to talk to."""
    if (pid := config.holder()) is None:
        return CliError(
            f"nothing runs in {config.home()}: start it with `rclaude up`",
            Exit.UNREACHABLE,
            code="not_running",
        )
    if config.is_stack_file_damaged():
        return embedded.file_damaged(pid)
    return CliError(
        f"the stack in {config.home()} (process {pid}) is not ready: wait for it with `rclaude up`",
        Exit.UNREACHABLE,
        code="not_ready",
    )


def connect() -> CliClient:
    """A client of the configured server, or of the embedded stack that runs. Raises `CliError`."""
    target = config.target()
    if target is None:
        raise not_running()
    return client_of(target)


def connect_or_start() -> CliClient:
    """The same; an embedded stack that does not run is brought up."""
    target: Target | None = config.target()
    if target is None:
        embedded.start()
        target = config.target()
    if target is None:
        raise CliError("the stack ended as soon as it was up; see `rclaude doctor`", Exit.UNREACHABLE)
    return client_of(target)


def task_id(text: str | None, client: CliClient) -> str:
    """The task that is meant; the newest when none is named, but for those that only judge another."""
    if text is not None:
        check_task_id(text)
        return text
    return str(newest_task(client)["id"])


def check_task_id(text: str) -> None:
    """Raises `CliError` for what can't be the id of a task."""
    if not TASK_ID.fullmatch(text):
        raise CliError(
            f"not a task: {text!r}; an id is task_ and 26 characters (see `rclaude list`)", Exit.USAGE
        )


def task_and_text(first: str | None, second: str | None) -> tuple[str | None, str | None]:
    """The task and the text of a command that takes both: one argument alone is the text, unless it looks like an id."""
    if first is None or second is not None or first.startswith("task_"):
        return first, second
    return None, first


def newest_task(client: CliClient) -> dict[str, Any]:
    """The newest task that does not only judge another. Raises `CliError` when there is none."""
    limit, cursor = 1, None
    while True:
        page = client.get("/v1/tasks", limit=limit, cursor=cursor)
        for task in page["tasks"]:
            if JUDGE_LABEL not in task["labels"]:
                found: dict[str, Any] = task
                return found
        limit, cursor = 50, page.get("next")
        if not cursor:
            raise CliError('there is no task yet: `rclaude run "..."` makes one', Exit.USAGE)
