"""Columns on a screen: what fits, and what is cut where it does not.

A table of rich can't leave a column out, and cuts ids where it gets narrow; rich measures the text.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

GAP = 2
NARROWEST = 8
"""An elastic column is not cut below this; others are left out first."""


def screen_width() -> int | None:
    """Columns of the terminal that is written to, or of `COLUMNS`; None where lines may be as long as they are."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def width(text: str) -> int:
    """Columns that a text takes: two for an East Asian wide character, none for a combining one."""
    from rich.cells import cell_len

    return cell_len(text)


def elided(text: str, limit: int) -> str:
    """The text, or its beginning and `…`, within `limit` columns."""
    from rich.cells import set_cell_size

    return text if width(text) <= limit else set_cell_size(text, limit - 1).rstrip() + "…"


def padded(text: str, to: int) -> str:
    """The text and as many spaces as it takes."""
    return text + " " * (to - width(text))


def fit(
    rows: Sequence[Sequence[str]], limit: int | None, elastic: str | None, expendable: Sequence[str]
) -> list[list[str]]:
    """The cells, padded, so that a row takes at most `limit` columns. The first row holds the columns' names.

    `expendable` columns are left out in that order for as long as the `elastic` one would get too narrow.
    """
    columns = {str(cells[0]): list(cells) for cells in zip(*rows, strict=True)}
    widths = {name: max(map(width, cells)) for name, cells in columns.items()}

    def excess(floor: int) -> int:
        """How much too wide it is, the elastic column at no more than `floor`."""
        taken = sum(min(w, floor) if name == elastic else w for name, w in widths.items())
        return taken + GAP * (len(widths) - 1) - (limit or 0)

    if limit is not None:
        for name in expendable:
            if excess(NARROWEST) > 0:
                del columns[name], widths[name]
        if elastic is not None and (over := excess(widths[elastic])) > 0:
            widths[elastic] = max(NARROWEST, widths[elastic] - over)
            columns[elastic] = [elided(cell, widths[elastic]) for cell in columns[elastic]]
    padded_columns = [[padded(cell, widths[name]) for cell in cells] for name, cells in columns.items()]
    return [list(row) for row in zip(*padded_columns, strict=True)]
