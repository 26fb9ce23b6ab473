"""`rclaude batch`: hand over many tasks at once."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import config, render
from remote_claude.cli.arguments import checked_prompt, labels_of
from remote_claude.cli.commands.run import local_repository, send_repository
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.repository import Repository
from remote_claude.cli.session import connect_or_start
from remote_claude.cli.terminal import safe_text

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from remote_claude.cli.batches.items import Batch, Item
    from remote_claude.cli.batches.running import BatchEntry, Run
    from remote_claude.cli.client import CliClient

Format = StrEnum("Format", ["yaml", "jsonl", "csv"])


def batch(
    file: Annotated[str, typer.Argument(help="The items: YAML, JSON Lines or CSV; `-` is standard input.")],
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
    max_parallel: Annotated[
        int | None, typer.Option(min=1, help="How many tasks are submitted at a time.")
    ] = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Cancel the others when one fails.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all are submitted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One summary on standard output.")] = False,
) -> None:
    """Hand over the tasks of a file, follow them to their ends, and sum them up.

    The same command again picks the batch up: no task is done twice.
    """
    from remote_claude.cli.batches.items import read
    from remote_claude.cli.batches.running import Run

    if no_repo and repo:
        raise CliError("--repo and --no-repo contradict each other", Exit.USAGE)
    if detach and (max_parallel or fail_fast):
        raise CliError(
            "--max-parallel and --fail-fast need the command to stay: leave --detach out", Exit.USAGE
        )
    defaults = {
        "agent": agent or config.setting("agent"),
        "repo": repo,
        "timeout": timeout,
        "labels": labels_of(label or []),
    }
    text, kind = _content(file, format)
    repositories = _Repositories(no_repo=no_repo)
    batch = read(text, kind, name=name, template=prompt, defaults=defaults, place=repositories.place)
    _check(batch)
    client = connect_or_start()
    view = _view(batch, as_json=as_json)
    run = Run(client, batch, lambda item: repositories.of(client, item), view.changed)
    try:
        if before := run.pick_up():
            render.note(f"batch {batch.name}: {before} of {len(batch.items)} tasks were submitted before")
        if detach:
            run.submit_all()
        else:
            with view.shown(run):
                run.follow(max_parallel, fail_fast=fail_fast, tick=view.tick)
    except KeyboardInterrupt:
        render.note(f"\nwhat has been submitted goes on; {_again(batch)}")
        raise typer.Exit(Exit.CANCELLED) from None
    except CliError as error:
        if error.exit is Exit.UNREACHABLE:
            raise CliError(
                f"{error}. What has been submitted goes on; {_again(batch)}", error.exit
            ) from error
        raise
    raise typer.Exit(_conclude(run, as_json=as_json, detach=detach))


def _again(batch: Batch) -> str:
    return f"the same command again picks the batch up (its name is {batch.name})"


def _content(file: str, format: Format | None) -> tuple[str, str]:
    from remote_claude.cli.batches.items import FORMATS

    kind = str(format) if format else FORMATS.get(Path(file).suffix.lower())
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
    if detach and summary["states"].get("refused", 0) == 0:
        if summary["state"] == "running":
            render.note(_again(run.batch))
        return Exit.OK
    return Exit.OK if summary["state"] == "succeeded" else Exit.FAILED


def _print(run: Run, summary: dict[str, Any]) -> None:
    rows = [
        (entry.item.key, entry.state.replace("_", " "), entry.id or "-", _cost(entry), _why(entry))
        for entry in run.entries
    ]
    render.table(
        ("item", "state", "task", "cost", "because"), rows, elastic="because", expendable=("because", "cost")
    )
    states = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in summary["states"].items())
    render.say(f"batch {summary['name']}: {states}; {render.money(summary['total_nano_usd'])}")


def _cost(entry: BatchEntry) -> str:
    return "-" if entry.cost is None else render.money(entry.cost)


def _why(entry: BatchEntry) -> str:
    if entry.detail is not None:
        return " ".join(entry.detail.split())
    return render.explanation(entry.task) or ""


class _Lines:
    """A line for every change of state."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def changed(self, entry: BatchEntry) -> None:
        if not self._quiet:
            why = f": {_why(entry)}" if entry.has_failed and _why(entry) else ""
            render.say(f"{entry.item.key} {entry.id or '-'} {entry.state.replace('_', ' ')}{why}")

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
        ended = sum(entry.cost is not None for entry in entries)
        table = Table(box=None, pad_edge=False, title_justify="left")
        table.title = Text(f"batch {self._name}: {ended} of {len(entries)} ended")
        for column in ("item", "state", "task", "cost"):
            table.add_column(column, no_wrap=True)
        for entry in entries:
            colour = "green" if entry.state == "succeeded" else "red" if entry.has_failed else "yellow"
            cells = (entry.item.key, entry.state.replace("_", " "), entry.id or "-", _cost(entry))
            washed = [Text(safe_text(cell)) for cell in cells]
            washed[1].stylize(colour)
            table.add_row(*washed)
        self._live.update(table, refresh=True)


def _view(batch: Batch, *, as_json: bool) -> _Lines | _Table:
    return _Table(batch.name) if sys.stdout.isatty() and not as_json else _Lines(quiet=as_json)
