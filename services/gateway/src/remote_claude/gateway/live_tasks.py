"""Recent tasks in memory, folded as their events arrive: requests about them need no database.

A task is held from its submission on, or from the first request that waits for it. After its end it is dropped in time;
older tasks are read from the view.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.positions import Reached
from remote_claude.gateway.domain.lifecycle import TaskProgress, evolve
from remote_claude.gateway.projections.queries import Task, TaskQueries
from remote_claude.gateway.projections.tasks import TasksView

MAX_TASKS = 20_000
MAX_BYTES = 64 * 1024 * 1024
"""Of submissions, as stored in the log. Above either bound the oldest tasks are dropped, ended ones first."""
MAX_ENDED = 1_000
"""How many tasks that have ended are kept: their results are read now."""

OnChange = Callable[[TaskProgress], None]
"""Called after each event of a task with the progress before it."""
Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class WatchedTask:
    """A task as of the last event of this process. It is kept while `listeners` holds one."""

    submission: Task
    progress: TaskProgress
    bytes: int = 0
    listeners: set[OnChange] = field(default_factory=set)

    @property
    def task(self) -> Task:
        """The task with its progress, as the view would have it."""
        return replace(self.submission, progress=self.progress)

    def fold(self, recorded: RecordedEvent) -> None:
        """Apply an event."""
        before = self.progress
        self.progress = evolve(
            before, recorded.event, position=recorded.position, occurred_at=recorded.occurred_at
        )
        for listener in tuple(self.listeners):
            listener(before)


@dataclass(slots=True, eq=False)
class _Loading:
    """A task that is being read from the view, and its events meanwhile."""

    reading: asyncio.Task[WatchedTask] | None = None
    pending: list[RecordedEvent] = field(default_factory=list)


class LiveTasks:
    """All live tasks of a process. The consumer of the log calls `on_event`, which never waits, and `reach`."""

    def __init__(self, queries: TaskQueries, *, wait_s: float) -> None:
        self._queries, self._wait_s = queries, wait_s
        self._tasks: dict[Key, WatchedTask] = {}
        self._ended: deque[Key] = deque()
        self._loading: dict[Key, _Loading] = {}
        self._unreadable: set[str] = set()
        self._bytes = 0
        self._reached = Reached()
        self._waiting: set[asyncio.Future[None]] = set()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def waits(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    @property
    def position(self) -> int:
        """Every event up to here has been folded."""
        return self._reached.position

    def reach(self, position: int) -> None:
        """Everything up to this position has been folded."""
        self._reached.reach(position)

    async def wait_for(self, position: int, timeout: float) -> bool:
        """Wait until `position` has been folded, at most `timeout` seconds; False when it has not."""
        return await self._reached.wait_for(position, timeout)

    def on_event(self, recorded: RecordedEvent) -> None:
        """An event of the log."""
        if recorded.type not in TasksView.handles:
            return
        event = recorded.event
        key = event.org, event.task
        if recorded.type == TaskSubmitted.type:
            if event.org not in self._unreadable:
                self._add(key, _submitted(recorded))
        elif (found := self._tasks.get(key)) is not None:
            was_terminal = found.progress.terminal
            found.fold(recorded)
            if found.progress.terminal and not was_terminal:
                self._end(key)
        elif (loading := self._loading.get(key)) is not None:
            loading.pending.append(recorded)

    def on_unreadable(self, recorded: RecordedEvent) -> None:
        """An event can't be decoded here: the organisation's tasks are read from the view from now on."""
        if recorded.type in TasksView.handles and (org := recorded.organisation) is not None:
            self._unreadable.add(org)
            for key in [key for key in self._tasks if key[0] == org]:
                self._forget(key)

    def find(self, org: str, task: str) -> WatchedTask | None:
        """A task, if it is held here."""
        return self._tasks.get((org, task))

    async def get(self, org: str, task: str) -> WatchedTask:
        """A task; if it is not held here, it is read from the view and then held. Raises `TaskNotFound`, `NotCaughtUp`."""
        key = org, task
        if (found := self._tasks.get(key)) is not None:
            return found
        loading = self._loading.get(key)
        if loading is None:
            loading = self._loading[key] = _Loading()
            loading.reading = asyncio.create_task(self._load(key, loading))
        assert loading.reading is not None
        return await asyncio.shield(loading.reading)

    async def wait(self, live: WatchedTask, seconds: float, changed: int | None) -> bool:
        """Wait until the task has ended, or has changed since the position `changed`; False at the timeout.

        All waits end when the process stops.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def look(_: TaskProgress) -> None:
            if is_due(live.progress, changed) and not done.done():
                done.set_result(None)

        if is_due(live.progress, changed):
            return True
        if self._stopping:
            return False
        live.listeners.add(look)
        self._waiting.add(done)
        try:
            await asyncio.wait([done], timeout=seconds)
        finally:
            self._waiting.discard(done)
            live.listeners.discard(look)
        return is_due(live.progress, changed)

    def stop(self) -> None:
        """End all waits: each request is answered with the current state."""
        self._stopping = True
        for done in self._waiting:
            if not done.done():
                done.set_result(None)

    async def _load(self, key: Key, loading: _Loading) -> WatchedTask:
        """Read a task from the view at this process's position or later, then fold the events that arrived meanwhile."""
        try:
            await self._queries.caught_up(self.position, self._wait_s)
            task, as_of = await self._queries.get(*key)
        finally:
            del self._loading[key]
        if (submitted := self._tasks.get(key)) is not None:  # meanwhile
            return submitted
        live = WatchedTask(task, task.progress)
        for recorded in loading.pending:
            if recorded.position > as_of:
                live.fold(recorded)
        if key[0] not in self._unreadable:
            self._add(key, live)
            if live.progress.terminal:
                self._end(key)
        return live

    def _add(self, key: Key, live: WatchedTask) -> None:
        self._forget(key)
        self._tasks[key] = live
        self._bytes += live.bytes
        if len(self._tasks) > MAX_TASKS or self._bytes > MAX_BYTES:
            self._make_room()

    def _end(self, key: Key) -> None:
        self._ended.append(key)
        if len(self._ended) > MAX_ENDED:
            self._forget_ended()

    def _make_room(self) -> None:
        """Drop one task that nobody waits for, to make room for a new one."""
        if self._ended:
            self._forget_ended()
        elif (
            idle := next((key for key, live in self._tasks.items() if not live.listeners), None)
        ) is not None:
            self._forget(idle)

    def _forget_ended(self) -> None:
        key = self._ended.popleft()
        live = self._tasks.get(key)
        if live is not None and live.listeners:
            self._ended.append(key)
        else:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        if (live := self._tasks.pop(key, None)) is not None:
            self._bytes -= live.bytes


def is_due(progress: TaskProgress, changed: int | None) -> bool:
    """Whether a wait is over: the task has ended, or with `changed` has changed since that position."""
    return progress.terminal if changed is None else progress.changed > changed


def _submitted(recorded: RecordedEvent) -> WatchedTask:
    event: TaskSubmitted = recorded.event
    progress = evolve(
        TaskProgress(changed=recorded.position),
        event,
        position=recorded.position,
        occurred_at=recorded.occurred_at,
    )
    task = Task(
        task=event.task,
        org=event.org,
        position=recorded.position,
        submitted_by=event.user,
        team=event.team,
        submitted_at=recorded.occurred_at,
        agent=event.agent,
        prompt=event.prompt,
        repository=event.repository,
        labels=event.labels,
        max_attempts=event.max_attempts,
        timeout_s=event.timeout_s,
        priority=event.priority,
        progress=progress,
    )
    return WatchedTask(task, progress, len(recorded.data))
