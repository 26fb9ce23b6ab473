"""`rclaude batch`: hand over many tasks at once; `rclaude batches` lists them."""

from __future__ import annotations

import json
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import config, render
from remote_claude.cli.arguments import checked_prompt, labels_of
from remote_claude.cli.commands.submission import local_repository, send_repository
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.repository import Repository
from remote_claude.cli.session import connect, connect_or_start
from remote_claude.cli.terminal import safe_text

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from remote_claude.cli.batches.items import Batch, Item
    from remote_claude.cli.batches.running import BatchEntry, Run
    from remote_claude.cli.client import CliClient

BATCH_ID = re.compile(r"batch_[0-9a-z]{26}")
Format = StrEnum("Format", ["yaml", "jsonl", "csv"])


def batch(
    file: Annotated[
        str | None,
        typer.Argument(help="The items: YAML, JSON Lines or CSV; `-` is standard input. Or a batch's id."),
    ] = None,
    repos: Annotated[
        list[str] | None,
        typer.Option("--repos", help="Instead of a file: an item for this repository; may be given again."),
    ] = None,
    format: Annotated[Format | None, typer.Option(help="By the file's suffix if left out.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Template with {field}s of the item.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the batch; made from its content if left out.")] = None,
    agent: Annotated[str | None, typer.Option(help="For items that name none.")] = None,
    repo: Annotated[str | None, typer.Option(help="Folder or URL, for items that name none.")] = None,
    no_repo: Annotated[
        bool, typer.Option("--no-repo", help="Items that name no repository work without one.")
    ] = False,
    timeout: Annotated[
        int | None, typer.Option(min=1, max=86400, help="Seconds an attempt may take.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for all; may be given again.")] = None,
    pull_request: Annotated[
        bool, typer.Option("--pr", help="Open a pull request for each task that succeeds.")
    ] = False,
    max_parallel: Annotated[
        int | None, typer.Option(min=1, help="How many tasks are submitted at a time.")
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Cancel the others when one fails.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="End the batch of this id.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return at once: the server goes on.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One summary on standard output.")] = False,
) -> None:
    """Hand over the tasks of a file in one request, follow them to their ends, and sum them up.

    The same command again picks the batch up: no task is done twice.
    """
    if (file is None) == (not repos):
        raise CliError("name either a file or repositories with --repos", Exit.USAGE)
    if no_repo and (repo or repos):
        raise CliError("--no-repo contradicts a repository", Exit.USAGE)
    if file is not None and BATCH_ID.fullmatch(file):
        _known(file, cancel=cancel, detach=detach, as_json=as_json)
    if cancel:
        raise CliError("--cancel needs the id of a batch: `rclaude batches` lists them", Exit.USAGE)
    from remote_claude.cli.batches.items import read
    from remote_claude.cli.batches.running import Run

    defaults = {
        "agent": agent or config.setting("agent"),
        "repo": repo,
        "timeout": timeout,
        "labels": labels_of(label or []),
    }
    text, kind = _content(file, format) if file is not None else (_items_for(repos or []), "jsonl")
    repositories = _Repositories(no_repo=no_repo)
    batch = read(text, kind, name=name, template=prompt, defaults=defaults, place=repositories.place)
    _check(batch)
    client = connect_or_start()
    view = _view(batch.name, as_json=as_json)
    run = Run(client, view.changed)
    try:
        run.submit(
            batch,
            lambda item: repositories.of(client, item),
            {"pull_request": {}} if pull_request else {},
            max_parallel=max_parallel,
            stop_on_failure=fail_fast,
        )
        if not run.submitted:
            but = (
                "; the file or the repositories have changed since: --name starts another"
                if run.differs
                else ""
            )
            render.note(f"batch {run.name}: it was submitted before, with {len(run.entries)} tasks{but}")
    except KeyboardInterrupt:
        render.note("\nwhether the batch was submitted is not known; the same command again submits it once")
        raise typer.Exit(Exit.CANCELLED) from None
    _finish(run, view, detach=detach, as_json=as_json)


def batches(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the last page ended.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List batches, newest first."""
    found = connect().get("/v1/batches", limit=limit, cursor=cursor)
    if as_json:
        render.emit(found)
        return
    rows = [(b["id"], b["name"] or "-", b["state"], _states(b["states"])) for b in found["batches"]]
    render.table(("batch", "name", "state", "tasks"), rows, elastic="name")
    if found["next"]:
        render.note(f"more with --cursor {found['next']}")


def _known(id: str, *, cancel: bool, detach: bool, as_json: bool) -> None:
    """Follow, cancel or show a batch that the server has; never returns."""
    from remote_claude.cli.batches.running import Run

    client = connect()
    position = client.post(f"/v1/batches/{id}/cancel")["position"] if cancel else None
    view = _view(id, as_json=as_json)
    run = Run(client, view.changed)
    run.pick_up(id, position)
    _finish(run, view, detach=detach, as_json=as_json)


def _finish(run: Run, view: _Lines | _Table, *, detach: bool, as_json: bool) -> None:
    """Follow the batch unless it goes on detached, sum it up, and leave."""
    try:
        if not detach:
            with view.shown(run):
                run.follow(view.tick)
        run.add_costs()
    except KeyboardInterrupt:
        render.note(f"\nthe batch goes on; {_again(run)}")
        raise typer.Exit(Exit.CANCELLED) from None
    except CliError as error:
        if error.exit is Exit.UNREACHABLE:
            raise CliError(f"{error}. What was submitted goes on; {_again(run)}", error.exit) from error
        raise
    raise typer.Exit(_conclude(run, as_json=as_json, detach=detach))


def _again(run: Run) -> str:
    return f"`rclaude batch {run.id}` follows it, with --cancel it ends"


def _items_for(repos: list[str]) -> str:
    return "\n".join(json.dumps({"repo": repo}) for repo in repos)


def _states(states: dict[str, int], *, running: bool = False) -> str:
    return ", ".join(f"{count} {_state(state, running=running)}" for state, count in states.items())


def _state(state: str, *, running: bool) -> str:
    """In words. While a batch runs, the server has the items that are no task yet."""
    return "handed over" if running and state == "not_submitted" else state.replace("_", " ")


def _content(file: str, format: Format | None) -> tuple[str, str]:
    from remote_claude.cli.batches.items import FORMATS

    kind = str(format) if format else FORMATS.get(Path(file).suffix.lower())
    if kind is None and file.startswith("batch_") and not Path(file).exists():
        raise CliError(
            f"not a batch: {file!r}; an id is batch_ and 26 characters (see `rclaude batches`)", Exit.USAGE
        )
    if kind is None:
        raise CliError("say what it is with --format yaml, jsonl or csv", Exit.USAGE)
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return content.decode("utf-8-sig"), kind
    except UnicodeDecodeError as error:
        raise CliError(f"the batch is not UTF-8 (byte {error.start})", Exit.USAGE) from error
    except FileNotFoundError as error:
        raise CliError(f"there is no file {file}", Exit.USAGE) from error


def _check(batch: Batch) -> None:
    for item in batch.items:
        checked_prompt(item.body["prompt"])
        if item.ref and (item.repo is None or Path(item.repo).is_absolute()):
            raise CliError(f"item {item.key}: ref goes with the URL of a repository", Exit.USAGE)


class _Repositories:
    """The repositories of a batch. All are looked at before anything is submitted; each is sent once, when it is needed."""

    def __init__(self, *, no_repo: bool) -> None:
        self._no_repo = no_repo
        self._folders = dict[str, Repository]()
        self._sent = dict[str, str]()

    def place(self, named: str | None) -> str | None:
        """The top folder of a repository on this disk, a URL as it is, or None for no repository."""
        if named is None and self._no_repo:
            return None
        local = local_repository(named)
        if local is None:
            return named
        self._folders[str(local.top)] = local
        return str(local.top)

    def of(self, client: CliClient, item: Item) -> dict[str, Any] | None:
        """The field `repo` of a request."""
        if item.repo is None:
            return None
        if (folder := self._folders.get(item.repo)) is None:
            return {"url": item.repo, **({"ref": item.ref} if item.ref else {})}
        if item.repo not in self._sent:
            self._sent[item.repo] = send_repository(client, folder)
        return {"bundle": self._sent[item.repo]}


def _conclude(run: Run, *, as_json: bool, detach: bool) -> Exit:
    summary = run.summary()
    if as_json:
        render.emit(summary)
    else:
        _print(run, summary)
    if detach and summary["state"] == "running":
        render.note(_again(run))
        return Exit.OK
    return Exit.OK if summary["state"] == "succeeded" else Exit.FAILED


def _print(run: Run, summary: dict[str, Any]) -> None:
    running = summary["state"] == "running"
    rows = [
        (entry.key, _state(entry.state, running=running), entry.id or "-", _cost(entry), _why(entry))
        for entry in run.entries
    ]
    render.table(
        ("item", "state", "task", "cost", "because"), rows, elastic="because", expendable=("because", "cost")
    )
    render.say(f"in the dashboard: {summary['url']}")
    render.say(
        f"batch {summary['name']}: {_states(summary['states'], running=running)}; {render.money(summary['total_nano_usd'])}"
    )


def _cost(entry: BatchEntry) -> str:
    return "-" if entry.cost is None else render.money(entry.cost)


def _why(entry: BatchEntry) -> str:
    if detail := entry.known.get("detail"):
        return " ".join(detail.split())
    return render.explanation(entry.known) or ""


class _Lines:
    """A line for every change of state."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def changed(self, entry: BatchEntry) -> None:
        if not self._quiet:
            why = f": {_why(entry)}" if entry.has_failed and _why(entry) else ""
            render.say(f"{entry.key} {entry.id or '-'} {_state(entry.state, running=True)}{why}")

    def tick(self) -> None:
        """Nothing to draw."""

    def shown(self, run: Run) -> AbstractContextManager[object]:
        from contextlib import nullcontext

        return nullcontext()


class _Table:
    """A table that is drawn over itself, on a terminal: what runs comes first, since not all of it may fit."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._name = name
        self._live = Live(console=Console(), auto_refresh=False, transient=True)
        self._run: Run | None = None

    def changed(self, entry: BatchEntry) -> None:
        """It is drawn at the next tick."""

    def shown(self, run: Run) -> AbstractContextManager[object]:
        self._run = run
        return self._live

    def tick(self) -> None:
        from rich.table import Table
        from rich.text import Text

        if self._run is None:
            return
        entries = sorted(self._run.entries, key=lambda e: (not e.is_running, not e.has_failed, e.id is None))
        ended = sum(entry.has_ended for entry in entries)
        table = Table(box=None, pad_edge=False, title_justify="left")
        table.title = Text(f"batch {self._name}: {ended} of {len(entries)} ended")
        for column in ("item", "state", "task"):
            table.add_column(column, no_wrap=True)
        for entry in entries:
            colour = "green" if entry.state == "succeeded" else "red" if entry.has_failed else "yellow"
            cells = (entry.key, _state(entry.state, running=True), entry.id or "-")
            washed = [Text(safe_text(cell)) for cell in cells]
            washed[1].stylize(colour)
            table.add_row(*washed)
        self._live.update(table, refresh=True)


def _view(name: str, *, as_json: bool) -> _Lines | _Table:
    return _Table(name) if sys.stdout.isatty() and not as_json else _Lines(quiet=as_json)
