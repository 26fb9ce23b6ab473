"""The tasks of one organisation that wait for a slot, in the order in which they get one."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator

from remote_claude.scheduler.domain.tasks import Needs, Queued

Level = tuple[int, int]


class Queue:
    """By needs, then level, then the order of arrival. Every operation is O(1) in the number of tasks."""

    __slots__ = ("_lines", "_size")

    def __init__(self) -> None:
        self._lines: dict[Needs, dict[Level, OrderedDict[str, Queued]]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Queue) and self._lines == other._lines

    __hash__ = None  # type: ignore[assignment]  # compared by what it holds, which changes

    def __iter__(self) -> Iterator[Queued]:
        for needs in self._lines:
            yield from line(needs, self)

    def add(self, task: Queued) -> None:
        """Put a task at the end of its level."""
        levels = self._lines.setdefault(task.submission.needs, {})
        levels.setdefault(task.level, OrderedDict())[task.submission.task] = task
        self._size += 1

    def discard(self, task: Queued) -> None:
        """Take a task out."""
        levels = self._lines[task.submission.needs]
        level = levels[task.level]
        del level[task.submission.task]
        self._size -= 1
        if not level:
            del levels[task.level]
            if not levels:
                del self._lines[task.submission.needs]

    def in_order(self) -> Iterator[Queued]:
        """Every task, as they get a slot if all needs are met alike."""
        lines = (line(needs, self) for needs in self._lines)
        return heapq.merge(*lines, key=lambda task: (task.level, task.submission.by.position))

    def needs(self) -> Iterator[Needs]:
        """The different needs of the tasks that wait."""
        return iter(self._lines)

    def levels(self, needs: Needs) -> dict[Level, OrderedDict[str, Queued]]:
        """The tasks with the same needs, by level; the smallest level goes first."""
        return self._lines.get(needs, {})


def line(needs: Needs, *queues: Queue) -> Iterator[Queued]:
    """The tasks of all `queues` with the same needs, in order; on one level the first queue goes first."""
    for level in sorted({level for queue in queues for level in queue.levels(needs)}):
        for queue in queues:
            yield from queue.levels(needs).get(level, {}).values()


class QueueHeads:
    """The first task of every line over several queues. The queues must not change meanwhile."""

    __slots__ = ("_heads", "_lines")

    def __init__(self, *queues: Queue) -> None:
        different = {needs for queue in queues for needs in queue.needs()}
        self._lines = {needs: line(needs, *queues) for needs in different}
        self._heads = {needs: next(self._lines[needs]) for needs in different}

    def __iter__(self) -> Iterator[Queued]:
        """The next task of each line, the most urgent first."""
        return iter(sorted(self._heads.values(), key=lambda task: (task.level, task.submission.by.position)))

    def advance(self, needs: Needs) -> None:
        """Let the second task with these needs be the first."""
        if (following := next(self._lines[needs], None)) is None:
            del self._heads[needs]
        else:
            self._heads[needs] = following
