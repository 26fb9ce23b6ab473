"""What can go wrong, as exit codes. Only this module maps the server's answers to them."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    TIMED_OUT = 124
    CANCELLED = 130
    OUTPUT_CLOSED = 141


OF_STATE = {
    "succeeded": Exit.OK,
    "failed": Exit.FAILED,
    "rejected": Exit.REFUSED,
    "timed_out": Exit.TIMED_OUT,
    "cancelled": Exit.CANCELLED,
}


class CliError(Exception):
    """A message for people that says what to do next, and the exit code that goes with it.

    `code` is for programs; the exit's name in lower case (`failed`, `usage`, `refused`...) where it has none of its own.
    """

    def __init__(
        self, message: str, exit: Exit = Exit.FAILED, *, code: str | None = None, **extra: Any
    ) -> None:
        super().__init__(message)
        self.exit, self.code, self.extra = exit, code or exit.name.lower(), extra


def from_problem(status: int, document: dict[str, Any]) -> CliError:
    """The error behind a problem document."""
    code = str(document.get("code", f"http_{status}"))
    detail = str(document.get("detail") or document.get("title") or f"the server answered {status}")
    if status in (401, 402, 403, 429):
        exit = Exit.REFUSED
    elif status in (502, 503, 504):
        exit = Exit.UNREACHABLE
    elif 400 <= status < 500:
        exit = Exit.USAGE
    else:
        exit = Exit.FAILED
    extra = {key: document[key] for key in ("id", "state", "errors") if key in document}
    return CliError(detail, exit, code=code, **extra)
