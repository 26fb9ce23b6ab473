"""Lines of `rclaude-admin` that keep to the width of a terminal; through a pipe they are whole."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

NAME = 28
NARROWEST = 8
"""A stream is not cut below this."""
DIGITS = {"position": 10, "lag": 6, "parked": 1}


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


def view_lines(rows: Sequence[Mapping[str, Any]], width: int | None) -> list[str]:
    """How far views are. Names stay whole; where they leave no room, the positions are left out, then the lags."""
    name = max(len(row["name"]) for row in rows)
    columns = [[f" {column} {row[column]:>{digits}}" for row in rows] for column, digits in DIGITS.items()]
    while columns and width is not None and name + _widths(columns) > width:
        del columns[0]
    room = NAME if width is None else min(NAME, width - _widths(columns))
    names = [f"{row['name']:<{max(name, room)}}" for row in rows]
    return ["".join(cells).rstrip() for cells in zip(names, *columns, strict=True)]


def _widths(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, cells)) for cells in columns)


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: width - 1] + "…"
