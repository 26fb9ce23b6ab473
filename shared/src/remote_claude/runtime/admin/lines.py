"""Lines of `rclaude-admin` that keep to the width of a terminal; through a pipe they are whole."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

NARROWEST = 8
"""A stream is not cut below this."""
COUNTS = ("position", "lag", "parked")
UNLIMITED = 1000
"""Columns of what is no terminal."""


def screen_width() -> int | None:
    """Columns of the terminal that is written to, or of `COLUMNS`; None where lines may be as long as they are."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def event_line(position: int, at: str, type: str, stream: str, width: int | None) -> str:
    """An event; the stream is cut first, and where nothing would be left of it, the time is left out."""
    line = f"{position:>8} {at} {type:<26} "
    if width is not None and width - len(line) < NARROWEST:
        line = f"{position:>8} {type:<26} "
    return _cut(line + stream, width)


def print_views(rows: Sequence[Mapping[str, Any]], width: int | None) -> None:
    """A table of views with their positions. A name that has no room goes on in the next line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("view", overflow="fold")
    for column in COUNTS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["name"], *(str(row[column]) for column in COUNTS))
    Console(width=width or UNLIMITED, markup=False, highlight=False).print(table)


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: width - 1] + "…"
