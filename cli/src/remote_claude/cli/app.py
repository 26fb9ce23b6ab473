"""The command line `rclaude`, and how its errors are reported."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from remote_claude.cli import config, release, render
from remote_claude.cli.command_table import CommandTable
from remote_claude.cli.errors import CliError, Exit

app = typer.Typer(
    name="rclaude",
    cls=CommandTable,
    help="Hand a coding task to an agent, close the laptop, get a commit and an exact bill.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 succeeded, 1 failed, 2 usage, 3 refused, 4 not reachable, 124 timed out, 130 cancelled, 141 output closed.",
)


def _version(requested: bool) -> None:
    if requested:
        print(f"rclaude {release()}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    profile: Annotated[
        str | None, typer.Option("--profile", help="The server to use: a name of `rclaude profile list`.")
    ] = None,
) -> None:
    """Hand a coding task to an agent, close the laptop, get a commit and an exact bill."""
    if profile is not None:
        os.environ["RCLAUDE_PROFILE"] = profile


def _fail(error: CliError) -> NoReturn:
    if _as_json():
        render.emit({"error": {"code": error.code, "detail": str(error), **error.extra}})
    render.note(f"rclaude: {error}")
    sys.exit(error.exit)


def _as_json() -> bool:
    """Whether JSON is asked for: also where the command line can't be read any further."""
    given = sys.argv[1:]
    return "--json" in given[: given.index("--") if "--" in given else None]


def _system_error(error: OSError) -> CliError:
    """Where it happened and what to do, if that is known."""
    if error.filename is None:
        return CliError(error.strerror or str(error), code="system_error")
    place, why = Path(os.fsdecode(error.filename)), error.strerror
    if isinstance(error, PermissionError) and place.is_relative_to(config.home()):
        advice = "make it yours, or set RCLAUDE_HOME to a folder that is"
        return CliError(f"{place} can't be used ({why}): {advice}", code="system_error")
    return CliError(f"{place}: {why}", code="system_error")


def _open_streams() -> None:
    """Somewhere to write, in any encoding: a daemon has no standard output, some build machines print ASCII only."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the whole process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run() -> None:
    """Run the command line; every error ends in one line on standard error and its exit code."""
    _open_streams()
    sys.argv[1:] = prompt_in_its_place(sys.argv[1:])
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
    except BrokenPipeError:
        raise
    except OSError as error:
        _fail(_system_error(error))


def prompt_in_its_place(arguments: list[str]) -> list[str]:
    """The command line with a prompt that begins with a dash after `--`. No option has a space in its name."""
    if arguments[:1] != ["run"]:
        return arguments
    from remote_claude.cli.commands.run import WITH_VALUE

    end = arguments.index("--") if "--" in arguments else len(arguments)
    for at, argument in enumerate(arguments[:end]):
        if re.match(r"-[^\s=]*\s", argument) and arguments[at - 1] not in WITH_VALUE:
            return (
                [*arguments[:at], *arguments[at + 1 :], "--", argument]
                if end == len(arguments)
                else arguments
            )
    return arguments


def _leave() -> NoReturn:
    """The output is closed, as with `| head`: end without a message, with the exit code that a shell gives for SIGPIPE."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.exit(Exit.OUTPUT_CLOSED)
