"""A place in a task's output: `<attempt>.<frame>`, the last frame that has been seen."""

from __future__ import annotations

import re
from typing import NamedTuple

from remote_claude.contracts.refusals import InvalidCursor

FORM = re.compile(r"(\d{1,9})\.(\d{1,9})", re.ASCII)


class Cursor(NamedTuple):
    """Attempts and frames count from 1; `0.0` is before everything. Cursors sort as the output does."""

    attempt: int = 0
    frame: int = 0

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises `InvalidCursor`."""
        match = FORM.fullmatch(text)
        if match is None:
            raise InvalidCursor
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.attempt}.{self.frame}"


START = Cursor()
"""Before the first frame."""
