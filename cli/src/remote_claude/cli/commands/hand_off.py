"""`rclaude push` and `rclaude pull`: a conversation and its working tree, from this machine to a task and back."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from remote_claude.cli import claude_sessions, render, repository
from remote_claude.cli.arguments import checked_prompt, nano_usd
from remote_claude.cli.commands.resuming import GO_ON
from remote_claude.cli.commands.submission import conduct, local_repository, send_repository
from remote_claude.cli.commands.tasks import TaskArgument, bring_over
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect, connect_or_start, task_id


def push(
    prompt: Annotated[
        str | None,
        typer.Argument(help="What the agent is to do next; without it, to go on where it stopped."),
    ] = None,
    session: Annotated[
        str | None, typer.Option(help="The id of a session; the newest of this folder.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model of the agent; its own default if left out.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="Where it may connect to, as with `run`.")] = None,
    budget: Annotated[str | None, typer.Option(help="Dollars that the model may cost.")] = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, max=86400, help="Seconds an attempt may take.")
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help="Ignored files that go along.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return as soon as the task is admitted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Hand the Claude Code session of this folder to a task, with the working tree."""
    transcript = claude_sessions.newest(Path.cwd(), session)
    local = local_repository(None)
    assert local is not None
    render.say(f"session: {transcript.stem}", to_stderr=as_json)
    render.say(f"repository: {local.top}", to_stderr=as_json)
    client = connect_or_start()
    content = claude_sessions.pack(transcript)
    sha256 = hashlib.sha256(content).hexdigest()
    with tempfile.TemporaryDirectory(prefix="rclaude-") as folder:
        archive = Path(folder) / "session.tar"
        archive.write_bytes(content)
        client.put_blob(sha256, archive)
    options = {"model": model, "network": network, "timeout_s": timeout}
    body: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if budget is not None:
        body["budget_nano_usd"] = nano_usd(budget)
    body |= {"prompt": checked_prompt(prompt or GO_ON), "agent": "claude", "checkpoint": sha256}
    body["repo"] = {"bundle": send_repository(client, local, include or ())}
    conduct(client, body, detach=detach, as_json=as_json)


def pull(
    task: TaskArgument = None,
    no_apply: Annotated[bool, typer.Option("--no-apply", help="The conversation only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Bring the change and the conversation of a task to this folder."""
    client = connect()
    id = task_id(task, client)
    here = repository.find(Path.cwd())
    if here is None:
        raise CliError(f"{Path.cwd()} is not in a Git repository", Exit.USAGE)
    checkpoint = client.download(f"/v1/tasks/{id}/checkpoint")
    changed = (client.get(f"/v1/tasks/{id}").get("result") or {}).get("commit")
    applied = bring_over(client, id, here) if changed and not no_apply else None
    session = claude_sessions.unpack(checkpoint, Path.cwd())
    if as_json:
        commit, files = (applied.commit, list(applied.files)) if applied else (None, [])
        render.emit({"id": id, "session": session, "commit": commit, "files": files})
        return
    if applied is not None:
        render.say(
            f"{(applied.commit or 'already there')[:12]} on {here.top}: {len(applied.files)} files changed"
        )
    render.say(f"go on with `claude --resume {session}`")
