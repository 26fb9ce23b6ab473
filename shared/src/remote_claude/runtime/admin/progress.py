"""How far a long command is: one line on a terminal's standard error, gone when the command is done."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Self

REDRAW_S = 0.1
SETTLED_S = 1.0  # a rate of less says nothing
BAR = 24


class Progress:
    """Call it with what is done, of how much, and in which phase. Without a terminal it says nothing."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._drawn = float("-inf")
        self._first = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    def __call__(self, done: int, total: int, phase: str | None = None) -> None:
        """Show it. `total` 0: nobody knows. Time left is told by the rate since the phase began."""
        if not self._terminal:
            return
        now = time.monotonic()
        if phase is not None and phase != self._phase:
            self._phase, self._began, self._drawn, self._first = phase, now, float("-inf"), done
        if now - self._drawn < REDRAW_S:
            return
        self._drawn = now
        seconds = now - self._began
        rate = (done - self._first) / seconds if seconds > SETTLED_S else 0.0
        line = text(self._phase, done, total, rate, shutil.get_terminal_size().columns - 1)
        sys.stderr.write(f"\r\x1b[2K{line}")
        sys.stderr.flush()


def text(phase: str, done: int, total: int, rate: float, width: int) -> str:
    """The line, no wider than `width`: the bar gives way first, then the numbers, then the rate. No `rate`, no time."""
    if not total:
        return (f"{phase:<7}  {done:,}" if done else phase)[:width]
    part = min(1.0, done / total)
    percent, numbers = f"{part:>4.0%}", f"{done:,} of {total:,}"
    pace = [f"{rate:,.0f}/s", f"{clock((total - done) / rate)} left"] if rate > 0 else []
    for shown in ([percent, numbers, *pace], [percent, *pace], [percent, *pace[1:]], [percent]):
        line = "  ".join(shown)
        room = min(BAR, width - len(f"{phase:<7}  ") - len(line) - 1)
        if room >= 8:
            filled = round(part * room)
            return f"{phase:<7}  {'█' * filled}{'░' * (room - filled)} {line}"
    return f"{phase} {percent}"[:width]


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `3:00:00`."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
