"""Commands about tasks that there are: list, show, logs, cancel, diff, apply."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from remote_claude.cli import render
from remote_claude.cli.candidates.group import candidate_id
from remote_claude.cli.errors import OF_STATE, CliError, Exit
from remote_claude.cli.session import JUDGE_LABEL, connect, task_and_text, task_id

if TYPE_CHECKING:
    from remote_claude.cli import repository
    from remote_claude.cli.client import CliClient

TaskArgument = Annotated[str | None, typer.Argument(help="The task's id; the newest one if left out.")]
CandidateOption = Annotated[
    int | None, typer.Option(min=1, help="The number of a candidate; TASK is its group or any of its tasks.")
]
HOW_TO_ANSWER = "`rclaude attach {task}` shows it; `rclaude answer {task} allow|always|deny` answers."


class Decision(StrEnum):
    """An answer to a permission request."""

    ALLOW = "allow"
    ALWAYS = "always"
    DENY = "deny"


SUBJECT_LENGTH = 72
"""Characters of a commit's subject, at the most."""
STATES: tuple[str, ...] = get_args(render.State)
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


def list_tasks(
    state: Annotated[
        list[str] | None,
        typer.Option(help="In this state; may be given again.", autocompletion=lambda: list(STATES)),
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Of this agent.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="With KEY or KEY=VALUE; all, if given again.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at the most.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="List again whenever a task changes, until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List tasks, newest first."""
    if unknown := sorted(set(state or []) - set(STATES)):
        raise CliError(f"there is no state {unknown[0]!r}; there are: {', '.join(STATES)}", Exit.USAGE)
    labels = [item.replace("=", ":", 1) for item in label or []]
    client = connect()
    query = {"state": state, "agent": agent, "label": labels, "limit": limit, "cursor": cursor}
    if not watch:
        _print_page(client.get("/v1/tasks", **query), as_json=as_json)
        return
    shown: Any = None
    with contextlib.suppress(KeyboardInterrupt):
        for _ in client.changes():
            page = client.get("/v1/tasks", **query)
            if page["tasks"] != shown:
                shown = page["tasks"]
                if not as_json:
                    render.clear_screen()
                _print_page(page, as_json=as_json)


def _print_page(page: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        render.emit(page)
        return
    rows = [
        (t["id"], _state(t), t["agent"], render.local_time(t["submitted_at"]), _title(t))
        for t in page["tasks"]
    ]
    render.table(
        ("task", "state", "agent", "submitted", "prompt"),
        rows,
        elastic="prompt",
        expendable=("submitted", "agent"),
    )
    for task in page["tasks"]:
        if task.get("waiting"):
            render.note(f"{task['id']} waits: {render.explanation(task)}")
    if page.get("next"):
        render.note(f"there are more: --cursor {page['next']}")


def show(task: TaskArgument = None, as_json: Json = False) -> None:
    """Show one task: state, usage, result, cost."""
    client = connect()
    shown = details(client, task_id(task, client))
    if as_json:
        render.emit(shown)
    else:
        render.describe_task(shown)


def logs(
    task: TaskArgument = None,
    follow_it: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with the exit code of the task's state.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One frame a line, as JSON.")] = False,
) -> None:
    """Print what the agent did."""
    client = connect()
    id = task_id(task, client)
    if follow_it:
        follow(client, id, as_json=as_json)
    else:
        _print_output(client, id, as_json=as_json)
    if exit_code:
        _leave_with(client.get(f"/v1/tasks/{id}"))


def wait(
    task: TaskArgument = None,
    timeout: Annotated[int | None, typer.Option(min=1, help="Seconds; 124 when they are over.")] = None,
    as_json: Json = False,
) -> None:
    """Wait until a task has ended; ends with the exit code of its state."""
    client = connect()
    id = task_id(task, client)
    ended = client.get(f"/v1/tasks/{id}")
    if ended["state"] not in render.TERMINAL_STATES:
        with render.ProgressLine(f"waiting for {id}"):
            ended = client.wait(id, timeout)
    if ended is None:
        raise CliError(f"{id} has not ended after {timeout} s; it goes on", Exit.TIMED_OUT)
    if as_json:
        render.emit(details(client, id))
    else:
        why = render.explanation(ended)
        render.say(f"{id} {_state(ended)}" + (f": {why}" if why else ""))
    _leave_with(ended)


def _leave_with(task: dict[str, Any]) -> None:
    """End as `run` does; a task that has not ended yet is no failure."""
    raise typer.Exit(OF_STATE.get(task["state"], Exit.OK))


def _print_output(client: CliClient, id: str, *, as_json: bool) -> None:
    live = render.LiveView()
    after: str | None = None
    while True:
        page = client.get(f"/v1/tasks/{id}/output", after=after, limit=200)
        show_frames(page["frames"], live, as_json=as_json)
        after = page.get("next") or after
        if not page.get("more"):
            break
    live.finish()


def _state(task: dict[str, Any]) -> str:
    return str(task["state"]).replace("_", " ")


def cancel(task: TaskArgument = None, as_json: Json = False) -> None:
    """Ask for the end of a task."""
    client = connect()
    id = task_id(task, client)
    was_cancelled = client.get(f"/v1/tasks/{id}")["state"] == "cancelled"
    answer = client.post(f"/v1/tasks/{id}/cancel")
    if as_json:
        render.emit(answer)
    elif was_cancelled:
        render.say(f"{id} is cancelled already")
    else:
        render.say(f"{id}: cancellation requested")


def send(
    task: Annotated[str, typer.Argument(metavar="[TASK]", help="The task's id; the newest one if left out.")],
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", help="The message to its agent; `-` reads it from standard input."),
    ] = None,
    interrupt: Annotated[
        bool, typer.Option("--interrupt", help="End what the agent does at the moment first.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Send a message to a task that runs. Its agent takes it after the current turn."""
    client = connect()
    named, text = task_and_text(task, text)
    if text is None:
        raise CliError(f'there is no message: `rclaude send {named} "..."` sends one', Exit.USAGE)
    id = task_id(named, client)
    message = sys.stdin.read() if text == "-" else text
    try:
        answer = client.post(f"/v1/tasks/{id}/messages", {"text": message, "interrupt": interrupt})
    except CliError as error:
        if error.code != "task_already_finished":
            raise
        raise CliError(
            f'{id} has ended: `rclaude resume {id} "..."` goes on with it in a new task',
            error.exit,
            code=error.code,
        ) from error
    if as_json:
        render.emit(answer)
    else:
        render.say(f"{answer['id']}: message {answer['number']} sent")


def answer(
    task: Annotated[str, typer.Argument(help="The task whose agent asks, or the start of its id.")],
    decision: Annotated[Decision, typer.Argument(help="always permits the like from here on, too.")],
    message: Annotated[str | None, typer.Option(help="With deny: what the agent is told.")] = None,
    request: Annotated[
        str | None,
        typer.Option(help="The request's id, as `rclaude show --json` has it; the oldest if left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer what the agent of a task asks a permission for: allow, always, deny."""
    client = connect()
    id = task_id(task, client)
    if request is None:
        asked = client.get(f"/v1/tasks/{id}")["permissions"]
        if not asked:
            raise CliError(
                f"the agent of {id} asks for no permission now", Exit.USAGE, code="permission_not_asked"
            )
        request = asked[0]["request"]
    answered = give_answer(client, id, request, decision, message)
    if as_json:
        render.emit(answered)
    else:
        render.say(f"{id}: {render.DECISIONS[answered['decision']]}")


def give_answer(
    client: CliClient, task: str, request: str, decision: Decision, message: str | None = None
) -> dict[str, Any]:
    """Answer a permission request."""
    body = {"decision": "allow_always" if decision is Decision.ALWAYS else decision.value, "message": message}
    answered: dict[str, Any] = client.post(f"/v1/tasks/{task}/permissions/{request}", body)
    return answered


def diff(task: TaskArgument = None, candidate: CandidateOption = None) -> None:
    """Print the agent's change as a patch."""
    client = connect()
    patch = client.download(f"/v1/tasks/{candidate_id(client, task, candidate)}/diff")
    if sys.stdout.isatty():
        render.say(patch.decode(errors="replace"))
    else:
        sys.stdout.buffer.write(patch)


def apply(
    task: TaskArgument = None,
    candidate: CandidateOption = None,
    no_commit: Annotated[bool, typer.Option("--no-commit", help="Leave the change staged.")] = False,
    merge: Annotated[
        bool,
        typer.Option("--merge", help="Write conflict markers where both changed a line; no commit."),
    ] = False,
    unrelated: Annotated[
        bool, typer.Option("--unrelated", help="Also into a repository with other files.")
    ] = False,
    hooks: Annotated[
        bool,
        typer.Option(
            "--hooks", help="Run your Git hooks around the commit; they are not run unless asked for."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the agent's commit over to the current branch; a patch is staged. Your own uncommitted changes stay as they are."""
    from remote_claude.cli import repository

    if hooks and (no_commit or merge):
        raise CliError("--hooks goes with a commit, so not with --no-commit or --merge", Exit.USAGE)
    client = connect()
    id = candidate_id(client, task, candidate)
    here = repository.find(Path.cwd())
    if here is None:
        raise CliError(
            f"{Path.cwd()} is not in a Git repository: go to the one that the task is to change", Exit.USAGE
        )
    applied = bring_over(
        client, id, here, commit=not no_commit, merge=merge, unrelated=unrelated, hooks=hooks
    )
    if applied.conflicts:
        render.note(
            f"resolve the conflict markers, then `git add` and commit: {', '.join(applied.conflicts)}"
        )
    elif applied.unstaged:
        render.note(f"changed, and not staged since you changed them too: {', '.join(applied.unstaged)}")
    if applied.unfiltered:
        render.note(
            "stored without the filter that the agent's .gitattributes name: "
            f"{', '.join(applied.unfiltered)}; `git add --renormalize .` applies it"
        )
    for name in applied.kept:
        render.note(f"kept {name}: the agent deleted it, and it was never committed here")
    if as_json:
        render.emit(
            {
                "id": id,
                "commit": applied.commit,
                "files": list(applied.files),
                "already": applied.already,
                "conflicts": list(applied.conflicts),
            }
        )
    elif applied.already:
        render.say(f"already in {here.top}" + (f" as {applied.commit[:12]}" if applied.commit else ""))
    elif applied.commit:
        render.say(f"{applied.commit[:12]} on {here.top}: {_files(applied.files)} changed")
    elif applied.conflicts:
        render.say(
            f"merged into {here.top}: {_files(applied.files)} changed, {len(applied.conflicts)} with conflicts"
        )
    else:
        render.say(f"staged in {here.top}: {_files(applied.files)} changed")
    if applied.conflicts:
        raise typer.Exit(Exit.FAILED)


def bring_over(
    client: CliClient,
    task: str,
    here: repository.Repository,
    *,
    commit: bool = True,
    merge: bool = False,
    unrelated: bool = False,
    hooks: bool = False,
) -> repository.Applied:
    """Apply the change of a task to a repository; the options are those of `repository.apply`."""
    from remote_claude.cli import repository

    shown = client.get(f"/v1/tasks/{task}")
    content = client.download(f"/v1/tasks/{task}/bundle")
    with tempfile.TemporaryDirectory(prefix="rclaude-") as folder:
        bundle = Path(folder) / "result.bundle"
        bundle.write_bytes(content)
        return repository.apply(
            here,
            bundle,
            task=task,
            agent=shown["agent"],
            message=_message(shown),
            commit=commit and bool((shown.get("result") or {}).get("commit")),
            merge=merge,
            unrelated=unrelated,
            hooks=hooks,
        )


def _files(names: Sequence[str]) -> str:
    return f"{len(names)} file{'s' * (len(names) != 1)}"


def details(client: CliClient, task: str, position: int | None = None) -> dict[str, Any]:
    """A task with what it cost, both as they are at a log position or later; `cost` is None for who may not read it."""
    shown: dict[str, Any] = client.get(f"/v1/tasks/{task}", min_position=position)
    try:
        bill = client.get(f"/v1/tasks/{task}/bill", min_position=shown["as_of"])
    except CliError as error:
        if error.exit is not Exit.UNREACHABLE and error.code not in ("period_not_found", "scope_missing"):
            raise
        bill = None
    return {**shown, "cost": bill}


def follow(
    client: CliClient, task: str, position: int = 0, *, quiet: bool = False, as_json: bool = False
) -> int:
    """Print what happens until the task has ended, as of a log position or later; returns that of its end."""
    task_now = client.get(f"/v1/tasks/{task}", min_position=position or None)
    live = render.LiveView(task_now["started_at"] or task_now["submitted_at"])
    if not quiet and (why := task_now.get("waiting") and render.explanation(task_now)):
        render.note(f"waiting: {why}")
    asked: set[str] = set()
    try:
        for message in client.live(task, position):
            position = message.get("position", position)
            match message["type"]:
                case "state":
                    if set(message.get("permissions", ())) - asked:
                        live.clear()
                        render.ring()
                        render.note(f"{task} waits for a permission. {HOW_TO_ANSWER.format(task=task)}")
                    asked.update(message.get("permissions", ()))
                    if not quiet and not as_json:
                        live.state(message["state"])
                case "output" if not quiet:
                    show_frames(message["frames"], live, as_json=as_json)
    finally:
        live.finish()
    return position


def show_frames(frames: list[dict[str, Any]], live: render.LiveView, *, as_json: bool) -> None:
    """Print frames, for people or as JSON lines."""
    if as_json:
        for frame in frames:
            render.emit(frame)
    else:
        live.frames(frames)


def _first_line(prompt: str | None) -> str:
    line = (prompt or "").strip().partition("\n")[0]
    return line if len(line) <= 60 else line[:59] + "…"


def _title(task: dict[str, Any]) -> str:
    """The prompt's first line; that of a judge's task says what it judges."""
    judged = task["labels"].get(JUDGE_LABEL)
    return _first_line((f"(judges candidate {judged}) " if judged else "") + (task.get("title") or ""))


def _message(task: dict[str, Any]) -> str:
    """The prompt as a commit message: a long first line is cut for the subject, and the body has all of it."""
    prompt = str(task.get("prompt") or task["id"]).strip()
    first = prompt.partition("\n")[0]
    if len(first) <= SUBJECT_LENGTH:
        return prompt
    return f"{textwrap.shorten(first, SUBJECT_LENGTH, placeholder='…')}\n\n{prompt}"
