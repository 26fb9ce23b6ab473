"""How far a long command is: one line on a terminal's standard error, gone when the command is done."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class ProgressDisplay:
    """Call it with what is done, of how much, and in which phase. It writes to a terminal only."""

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._bar: Bar | None = None
        self._shown: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, phase: str | None = None) -> None:
        """Show it. `total` is 0 where it is unknown."""
        if self._bar is None:
            return
        if self._shown is not None and phase is not None and phase != self._phase:
            self._bar.remove_task(self._shown)
            self._shown = None
        self._phase = phase or self._phase
        count = f"{done:,} of {total:,}" if total else f"{done:,}"
        if self._shown is None:
            self._shown = self._bar.add_task(self._phase, total=total or None, completed=done, count=count)
        else:
            self._bar.update(self._shown, total=total or None, completed=done, count=count)


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description:<7}"),
        BarColumn(24),
        TaskProgressColumn(),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
