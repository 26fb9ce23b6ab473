"""The commands of `rclaude`, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from remote_claude.cli import release, render
from remote_claude.cli.commands import money, settings, stack, tasks
from remote_claude.cli.commands import run as run_command
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.repository.git import RepositoryError

app = typer.Typer(
    name="rclaude",
    help="Hand a coding task to an agent, close the laptop, get a commit and an exact bill.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 succeeded, 1 failed, 2 usage, 3 refused, 4 not reachable, 124 timed out, 130 cancelled, 141 output closed.",
)

app.command("run")(run_command.run)
app.command("list")(tasks.list_tasks)
app.command("show")(tasks.show)
app.command("logs")(tasks.logs)
app.command("cancel")(tasks.cancel)
app.command("diff")(tasks.diff)
app.command("apply")(tasks.apply)
app.command("usage")(money.usage)
app.command("bill")(money.bill)
app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("open")(stack.open_dashboard)
app.command("status")(stack.status)
app.command("doctor")(stack.doctor)
app.command("config")(settings.configure)


def _version(asked: bool) -> None:
    if asked:
        print(f"rclaude {release()}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hand a coding task to an agent, close the laptop, get a commit and an exact bill."""


def _fail(error: CliError) -> NoReturn:
    if _as_json():
        render.emit({"error": {"code": error.code, "detail": str(error), **error.extra}})
    render.note(f"rclaude: {error}")
    sys.exit(error.exit)


def _as_json() -> bool:
    """Whether JSON is asked for: also where the command line can't be read any further."""
    given = sys.argv[1:]
    return "--json" in given[: given.index("--") if "--" in given else None]


def run() -> None:
    """Run the command line; every error ends in one line on standard error and its exit code."""
    try:
        _run()
    except BrokenPipeError:
        _leave()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Typer has made a 1 of it
            _leave()
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _leave()
        raise


def _run() -> NoReturn:
    try:
        sys.exit(app(standalone_mode=not _as_json()))
    except TyperException as error:
        _fail(CliError(error.format_message(), Exit.USAGE, code="usage"))
    except CliError as error:
        _fail(error)
    except RepositoryError as error:
        _fail(CliError(str(error), Exit.USAGE, code=error.code, files=list(error.files)))
    except BrokenPipeError:
        raise
    except OSError as error:
        _fail(CliError(str(error), code="system_error"))


def _leave() -> NoReturn:
    """Nobody reads on, as with `| head`: end without a word, and with what a shell makes of SIGPIPE."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.exit(Exit.OUTPUT_CLOSED)
