"""A task is handed over, and watched to its end."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from remote_claude.cli import render, repository
from remote_claude.cli.commands.pull_requests import await_pull_request
from remote_claude.cli.commands.tasks import details, follow
from remote_claude.cli.errors import OF_STATE, CliError, Exit

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient


def hand_over(client: CliClient, body: dict[str, Any]) -> dict[str, Any]:
    """Submit a task, once."""
    submitted: dict[str, Any] = client.post("/v1/tasks", body, idempotency_key=str(uuid.uuid4()))
    return submitted


def conduct(client: CliClient, body: dict[str, Any], *, detach: bool, as_json: bool) -> None:
    """Hand over a task, and watch it to its end unless `detach`."""
    submitted = hand_over(client, body)
    if detach:
        if as_json:
            render.emit({key: submitted[key] for key in ("id", "state", "position")})
        else:
            render.say(f"{submitted['id']} {submitted['state']}")
            render.note(f"watch it with `rclaude logs -f {submitted['id']}`")
        return
    raise typer.Exit(_watch(client, submitted["id"], submitted["position"], as_json=as_json))


def _watch(client: CliClient, task: str, position: int, *, as_json: bool) -> Exit:
    render.note(f"task: {task}")

    def cancel(*_: object) -> None:  # and the output goes on where it is
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _cancel(client, task)

    signal.signal(signal.SIGINT, cancel)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            position = follow(client, task, position, quiet=as_json)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        await_pull_request(client, task, position)
        shown = details(client, task, position)
    except CliError as error:
        if error.exit is not Exit.UNREACHABLE:
            raise
        raise CliError(
            f"{error}. The task goes on without this command: `rclaude logs -f --exit-code {task}` picks it up",
            error.exit,
            code=error.code,
            id=task,
        ) from error
    if as_json:
        render.emit(shown)
    else:
        _conclude(shown)
    return OF_STATE.get(shown["state"], Exit.CANCELLED)


def _cancel(client: CliClient, task: str) -> None:
    render.note(
        ("\n" if sys.stdout.isatty() else "")
        + "cancelling; press Ctrl-C again to leave without waiting for its end"
    )
    try:
        client.post(f"/v1/tasks/{task}/cancel")
    except CliError as error:
        if error.code != "task_already_finished":
            raise


def _conclude(task: dict[str, Any]) -> None:
    print()
    render.describe_task(task)
    if (task.get("result") or {}).get("patch"):
        render.note(f"\nsee it with `rclaude diff {task['id']}`, take it with `rclaude apply {task['id']}`")


def local_repository(repo: str | None) -> repository.Repository | None:
    """The repository on this disk that is meant, or None when it is a URL."""
    if repo is not None and ("://" in repo or (":" in repo and not Path(repo).exists())):
        return None
    place = Path(repo) if repo is not None else Path.cwd()
    if not place.is_dir():
        raise CliError(f"there is no folder {place}", Exit.USAGE)
    found = repository.find(place)
    if found is None:
        where = "" if repo else "; name one with --repo, or use --no-repo"
        raise CliError(f"{place.absolute()} is not in a Git repository{where}", Exit.USAGE)
    return found


def send_repository(client: CliClient, local: repository.Repository, include: Sequence[str] = ()) -> str:
    """Upload the working tree, unless the server has it; returns the SHA-256 of its bundle."""
    with tempfile.TemporaryDirectory(prefix="rclaude-") as folder:
        out = Path(folder) / "source.bundle"
        sent = repository.bundle(local, out, include=include)
        for note in sent.notes:
            render.note(note)
        if not client.has_blob(sent.sha256):
            if sent.size > 8 * 1024 * 1024:
                render.note(f"uploading {sent.size / 1024 / 1024:.0f} MiB")
            client.put_blob(sent.sha256, out)
        return sent.sha256
