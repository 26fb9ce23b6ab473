"""The exit codes of `rclaude-admin`."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    FOUND = 1
    """A check found something."""
    REFUSED = 2
    AWAY = 4
    """Nothing runs, or broker or PostgreSQL can't be used."""
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141
