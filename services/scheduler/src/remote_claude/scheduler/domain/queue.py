"""The tasks of one organisation that wait for a slot, in the order in which they get one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from remote_claude.scheduler.domain.tasks import Queued

Level = tuple[int, int]


class Waiting:
    """By agent, then level, then the order of arrival. Every operation is O(1) in the number of tasks."""

    __slots__ = ("_lines", "_size")

    def __init__(self) -> None:
        self._lines: dict[str, dict[Level, OrderedDict[str, Queued]]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Waiting) and self._lines == other._lines

    __hash__ = None  # type: ignore[assignment]  # compared by what it holds, which changes

    def __iter__(self) -> Iterator[Queued]:
        for agent in self._lines:
            yield from line(agent, self)

    def add(self, task: Queued) -> None:
        """Put a task at the end of its level."""
        levels = self._lines.setdefault(task.asked.agent, {})
        levels.setdefault(task.level, OrderedDict())[task.asked.task] = task
        self._size += 1

    def discard(self, task: Queued) -> None:
        """Take a task out."""
        levels = self._lines[task.asked.agent]
        level = levels[task.level]
        del level[task.asked.task]
        self._size -= 1
        if not level:
            del levels[task.level]
            if not levels:
                del self._lines[task.asked.agent]

    def agents(self) -> Iterator[str]:
        """The agents that tasks wait for."""
        return iter(self._lines)

    def levels(self, agent: str) -> dict[Level, OrderedDict[str, Queued]]:
        """What waits for one agent, by level; the smallest level goes first."""
        return self._lines.get(agent, {})


def line(agent: str, *queues: Waiting) -> Iterator[Queued]:
    """The tasks of all `queues` for one agent, in order; on one level the first queue goes first."""
    for level in sorted({level for queue in queues for level in queue.levels(agent)}):
        for queue in queues:
            yield from queue.levels(agent).get(level, {}).values()


class Heads:
    """The first task of every line over several queues. The queues must not change meanwhile."""

    __slots__ = ("_heads", "_lines")

    def __init__(self, *queues: Waiting) -> None:
        agents = {agent for queue in queues for agent in queue.agents()}
        self._lines = {agent: line(agent, *queues) for agent in agents}
        self._heads = {agent: next(self._lines[agent]) for agent in agents}

    def __iter__(self) -> Iterator[Queued]:
        """The next task of each agent, the most urgent first."""
        return iter(sorted(self._heads.values(), key=lambda task: (task.level, task.asked.by.position)))

    def advance(self, agent: str) -> None:
        """Let the agent's second task be its first."""
        if (following := next(self._lines[agent], None)) is None:
            del self._heads[agent]
        else:
            self._heads[agent] = following
