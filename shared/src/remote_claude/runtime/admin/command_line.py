"""`rclaude-admin`, the process: every error ends in its words and an exit code, an interrupt in silence.

What takes long to import is imported below `main`, so that an interrupt meanwhile is one too.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from remote_claude.runtime.admin.exits import Exit

if TYPE_CHECKING:
    from remote_claude.runtime.admin.command_support import Failure


def main() -> None:
    """Run the command line, with the commands that the installed services contribute."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
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
    from typer.exceptions import TyperException

    from remote_claude.runtime.admin.app import complete
    from remote_claude.runtime.admin.command_support import Failure, failure

    try:
        sys.exit(complete()(standalone_mode=not _as_json()))
    except TyperException as error:
        _fail(Failure(Exit.REFUSED, "usage", error.format_message()))
    except BrokenPipeError:
        raise
    except Exception as error:
        if (known := failure(error)) is None:
            raise
        _fail(known)


def _fail(failure: Failure) -> NoReturn:
    if _as_json():
        print(json.dumps({"error": {"code": failure.code, "detail": failure.detail}}, ensure_ascii=False))
    print(failure.text or failure.detail, file=sys.stderr)
    sys.exit(failure.exit)


def _as_json() -> bool:
    """Whether JSON is asked for: also where the command line can't be read any further."""
    given = sys.argv[1:]
    return "--json" in given[: given.index("--") if "--" in given else None]


def _leave() -> NoReturn:
    """Nobody reads on, as with `| head`: end without a word, and with what a shell makes of SIGPIPE."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    sys.exit(Exit.OUTPUT_CLOSED)
