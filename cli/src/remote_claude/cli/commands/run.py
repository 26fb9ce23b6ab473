"""`rclaude run`: hand over a task."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import config, render, repository
from remote_claude.cli.arguments import checked_prompt, labels_of, nano_usd, prompt_or_input
from remote_claude.cli.commands.best_of import agents_of, run_candidates
from remote_claude.cli.commands.pull_requests import await_pull_request
from remote_claude.cli.commands.tasks import details, follow
from remote_claude.cli.errors import OF_STATE, CliError, Exit
from remote_claude.cli.repository.authors import author_of
from remote_claude.cli.repository.preferences import DEVCONTAINER, preferences
from remote_claude.cli.session import connect, connect_or_start, task_and_text, task_id

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient


class PermissionMode(StrEnum):
    """What the agent may do without asking."""

    ALL = "all"
    EDITS = "edits"
    ASK = "ask"


GO_ON = "Go on with the task from where you stopped."
FIX = "Address the review comments, and make the failing checks pass."
CONTINUED = (
    "agent",
    "model",
    "permission_mode",
    "provider",
    "image",
    "network",
    "secrets",
    "patch_only",
    "priority",
    "max_attempts",
    "timeout_s",
)
"""Fields of a submission that a task which continues it has too."""
WITH_VALUE = frozenset(
    {
        "--agent",
        "--repo",
        "--ref",
        "--timeout",
        "--max-attempts",
        "--priority",
        "--label",
        "--team",
        "--include",
        "--base",
        "--title",
        "--reviewer",
        "--pr-label",
        "--author",
        "--secret",
        "--image",
        "--network",
        "--provider",
        "--model",
        "--permission-mode",
        "--budget",
        "--agents",
        "--judge",
    }
)
"""Options of `run` whose next word is their value."""


def run(
    prompt: Annotated[str, typer.Argument(help="What the agent is to do; `-` reads it from standard input.")],
    agent: Annotated[
        str | None,
        typer.Option(
            help="claude, opencode, shell or noop; claude unless configured.",
            autocompletion=lambda: list(config.AGENTS),
        ),
    ] = None,
    repo: Annotated[
        str | None, typer.Option(help="Folder of a Git repository, or its URL; the current one if left out.")
    ] = None,
    ref: Annotated[str | None, typer.Option(help="Branch, tag or commit of a --repo URL.")] = None,
    no_repo: Annotated[bool, typer.Option("--no-repo", help="Work without a repository.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return as soon as the task is admitted.")
    ] = False,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Talk with the agent while it works.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    timeout: Annotated[
        int | None, typer.Option(min=1, max=86400, help="Seconds an attempt may take.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=10, help="Attempts if a sandbox is lost.")
    ] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first among your own.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Model of the agent; its own default if left out.")
    ] = None,
    permission_mode: Annotated[
        PermissionMode | None,
        typer.Option(
            help="What the agent may do without asking: all (if left out), edits of files, or nothing."
        ),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image of its sandbox, built on the worker's; for the provider docker.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="Where it may connect to: none, default, or HOST,...; default if left out."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Dollars that the model may cost, such as 2.50; no limit if left out.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="Name of a secret that the task gets (`rclaude secret`); may be given again."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be given again.")] = None,
    team: Annotated[
        str | None, typer.Option(help="The team that it is of, name or id; your first one if left out.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Ignored files that go along, a pattern as in .gitignore; may be given again."),
    ] = None,
    pr: Annotated[
        bool, typer.Option("--pr", help="Push the result and open a pull request; goes with a --repo URL.")
    ] = False,
    draft: Annotated[bool, typer.Option("--draft", help="Open the pull request as a draft.")] = False,
    base: Annotated[
        str | None, typer.Option(help="The branch that the pull request goes to; the cloned one if left out.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="The pull request's title; the subject of its commit if left out.")
    ] = None,
    reviewer: Annotated[
        list[str] | None, typer.Option(help="Who is asked to review; may be given again.")
    ] = None,
    pr_label: Annotated[
        list[str] | None, typer.Option("--pr-label", help="Label of the pull request; may be given again.")
    ] = None,
    workflows: Annotated[
        bool,
        typer.Option("--workflows", help="The pull request may change files that the forge runs (CI)."),
    ] = False,
    patch_only: Annotated[
        bool, typer.Option("--patch-only", help="Make no commit: the result is a patch.")
    ] = False,
    author: Annotated[
        str | None,
        typer.Option(help="NAME <EMAIL> of the commit; Git's own identity here if left out."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Where its sandbox runs: local, docker; any unless given.")
    ] = None,
    best_of: Annotated[
        int | None, typer.Option("--best-of", min=2, max=16, help="Try it in so many tasks at once.")
    ] = None,
    agents: Annotated[
        str | None, typer.Option(help="With --best-of: agents that take turns, such as claude,shell.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="With --best-of: a command that judges each result by its exit code."),
    ] = None,
    until: Annotated[
        bool, typer.Option("--until", help="With --best-of: cancel the others when one passes.")
    ] = False,
) -> None:
    """Hand a task to an agent, watch it, and get a commit and its bill."""
    if interactive and (detach or as_json):
        raise CliError("--interactive goes with neither --detach nor --json", Exit.USAGE)
    if no_repo and repo:
        raise CliError("--repo and --no-repo contradict each other", Exit.USAGE)
    if best_of is None and (agents or judge or until):
        raise CliError("--agents, --judge and --until go with --best-of", Exit.USAGE)
    if best_of is not None and pr:
        raise CliError(
            "--pr does not go with --best-of: `rclaude pr TASK` opens the one of the candidate you choose",
            Exit.USAGE,
        )
    if detach and (judge or until):
        raise CliError(
            "--judge and --until need the command to stay: leave --detach out, or judge later with `rclaude compare`",
            Exit.USAGE,
        )
    body: dict[str, Any] = {
        "prompt": prompt_or_input(prompt),
        "priority": priority,
    }
    if agent is not None:
        body["agent"] = agent
    if image is not None:
        body["image"] = image
    if timeout is not None:
        body["timeout_s"] = timeout
    if max_attempts is not None:
        body["max_attempts"] = max_attempts
    if provider is not None:
        body["provider"] = provider
    if model is not None:
        body["model"] = model
    if permission_mode is not None:
        body["permission_mode"] = permission_mode.value
    if network is not None:
        body["network"] = network
    if budget is not None:
        body["budget_nano_usd"] = nano_usd(budget)
    if secret:
        body["secrets"] = secret
    if label:
        body["labels"] = labels_of(label)
    options = {
        "draft": draft,
        "base": base,
        "title": title,
        "reviewers": reviewer,
        "labels": pr_label,
        "workflows": workflows,
    }
    if pr:
        body["pull_request"] = {name: value for name, value in options.items() if value}
    elif any(options.values()):
        raise CliError(
            "--draft, --base, --title, --reviewer, --pr-label and --workflows go with --pr", Exit.USAGE
        )
    if patch_only and pr:
        raise CliError("--patch-only makes no commit, so it does not go with --pr", Exit.USAGE)
    if patch_only:
        body["patch_only"] = True
    local = None if no_repo else local_repository(repo)
    if local is not None:
        render.say(f"repository: {local.top}", to_stderr=as_json)
    elif repo:
        render.say(f"repository: {repo}", to_stderr=as_json)
        body["repo"] = {"url": repo, **({"ref": ref} if ref else {})}
    if ref and "repo" not in body:
        raise CliError("--ref goes with the URL of a repository", Exit.USAGE)

    if local is not None:
        preferred, file = preferences(local.top)
        body = {**preferred, **body}
        if file == DEVCONTAINER and image is None and "image" in body and provider != "docker":
            render.note(f"the image of {file} is used with --provider docker only: {body.pop('image')}")
    body.setdefault("agent", config.setting("agent") or "claude")
    if (identity := author_of(author, local)) is not None:
        body["author"] = identity
    if include and local is None:
        raise CliError("--include goes with a repository on this disk", Exit.USAGE)

    client = connect_or_start()
    if team is not None:
        from remote_claude.cli.commands.teams import team_id

        body["team"] = team_id(client, team)
    if local is not None:
        body["repo"] = {"bundle": send_repository(client, local, include or ())}
    if best_of is not None:
        tries = agents_of(agents, best_of, body["agent"])
        raise typer.Exit(
            run_candidates(
                client, body, tries, best_of, judge=judge, until=until, detach=detach, as_json=as_json
            )
        )
    if interactive:
        from remote_claude.cli.commands.conversation import converse

        raise typer.Exit(converse(client, hand_over(client, body)["id"]))
    conduct(client, body, detach=detach, as_json=as_json)


def hand_over(client: CliClient, body: dict[str, Any]) -> dict[str, Any]:
    """Submit a task, once."""
    submitted: dict[str, Any] = client.post("/v1/tasks", body, idempotency_key=str(uuid.uuid4()))
    return submitted


def continuation(client: CliClient, task: str, prompt: str | None) -> dict[str, Any]:
    """The submission that goes on with a task that has ended; without a prompt, where it stopped."""
    events = client.get(f"/v1/tasks/{task}/events", limit=200)["events"]
    before = next(event["data"] for event in events if event["type"] == "TaskSubmitted")
    saved = any(event["type"] == "CheckpointSaved" for event in events)
    if prompt is None:
        restores = saved and before["agent"] != "shell"
        prompt = GO_ON if restores else client.get(f"/v1/tasks/{task}")["prompt"]
    body = {name: before[name] for name in CONTINUED if before.get(name)}
    if before.get("pull_request"):
        body["pull_request"] = {}  # the one that is open is found again
    return body | {"prompt": checked_prompt(str(prompt)), "continues": task}


def fix_pull_request(
    client: CliClient, target: str | None, prompt: str | None, *, detach: bool, as_json: bool
) -> None:
    """Let the agent of a pull request work on its review comments and failing checks: a task on the same branch."""
    if target is None:
        raise CliError("name the pull request: `rclaude pr fix URL`", Exit.USAGE)
    if "://" in target:
        found = client.get("/v1/tasks", pull_request=target, limit=1)["tasks"]
        if not found:
            raise CliError(f"no task here has opened the pull request {target}", Exit.USAGE)
        target = found[0]["id"]
    body = continuation(client, task_id(target, client), prompt or FIX)
    conduct(client, {**body, "pull_request": {}, "feedback": True}, detach=detach, as_json=as_json)


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


def resume(
    task: Annotated[
        str | None, typer.Argument(help="The task's id, ended; the newest one if left out.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Argument(help="What its agent is to do next; without it, to go on where it stopped."),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Dollars that the model may cost from here on.")] = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, max=86400, help="Seconds an attempt may take.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Another model than before.")] = None,
    provider: Annotated[str | None, typer.Option(help="Where its sandbox runs.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return as soon as the task is admitted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Go on with a task that has ended, as a new task: the same files, the same conversation."""
    client = connect()
    named, prompt = task_and_text(task, prompt)
    id = task_id(named, client)
    body = continuation(client, id, prompt)
    options = {"timeout_s": timeout, "model": model, "provider": provider}
    body |= {name: value for name, value in options.items() if value is not None}
    if budget is not None:
        body["budget_nano_usd"] = nano_usd(budget)
    conduct(client, body, detach=detach, as_json=as_json)
