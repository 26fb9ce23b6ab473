"""Lines of `rclaude-admin` that keep to the width of a terminal; through a pipe they are whole."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any

NAME = 28
NARROWEST = 8
"""A name is not cut below this."""


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


def view_line(row: Mapping[str, Any], width: int | None) -> str:
    """How far a view is; its name is cut."""
    rest = " position {position:>10} lag {lag:>6} parked {parked}".format_map(row)
    if width is None:
        return f"{row['name']:<{NAME}}{rest}"
    room = min(NAME, max(NARROWEST, width - len(rest)))
    return f"{_cut(str(row['name']), room):<{room}}{rest}"


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: width - 1] + "…"
