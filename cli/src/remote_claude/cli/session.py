"""What every command begins with: a client, and a stack to talk to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from remote_claude.cli import config, embedded
from remote_claude.cli.config import Target
from remote_claude.cli.errors import CliError, Exit

if (
    TYPE_CHECKING
):  # the HTTP library is read when there is a server to talk to: help and completion stay quick
    from remote_claude.cli.client import CliClient

TASK_ID = re.compile(r"task_[0-9a-z]{26}")


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
    """The task that is meant; the newest when none is named."""
    if text is not None:
        if not TASK_ID.fullmatch(text):
            raise CliError(
                f"not a task: {text!r}; an id is task_ and 26 characters (see `rclaude list`)",
                Exit.USAGE,
            )
        return text
    newest = client.get("/v1/tasks", limit=1)["tasks"]
    if not newest:
        raise CliError('there is no task yet: `rclaude run "..."` makes one', Exit.USAGE)
    return str(newest[0]["id"])
