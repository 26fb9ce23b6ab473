"""Who watches which task: one reader of the log and one of the output per process, fanned out in memory.

A watch is live, or it is behind. A live one gets each chunk as it comes, as long as the chunk goes on where the last
one ended. One that is behind takes nothing from the live side: its socket reads the history from its cursor until
nothing has come meanwhile. So history and live meet without a gap or a duplicate, and nothing is kept for the slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import orjson

from remote_claude.eventsourcing.events import Clock, RecordedEvent, parse_timestamp
from remote_claude.gateway.domain.cursor import START, Cursor
from remote_claude.gateway.domain.lifecycle import Progress, evolve
from remote_claude.gateway.projections.output import Frames, OutputHistory
from remote_claude.gateway.projections.queries import TaskQueries
from remote_claude.gateway.projections.tasks import TasksView
from remote_claude.runtime.output import OutputChunk, OutputStream

SETTLES_WITHIN = timedelta(seconds=15)
"""How long after its end a task's runner is waited for: it may have the last of the output still."""

Send = Callable[[str], Awaitable[None]]


class Outlet(Protocol):
    """Where a watch's frames go: a socket."""

    def put(self, text: str) -> None:
        """Queue a frame. One that is full closes itself and takes no more."""

    def wake(self) -> None:
        """One of its watches is behind."""


@dataclass(slots=True, eq=False)
class Watch:
    """One socket's interest in one task. `cursor` is the last frame that was sent or queued."""

    channel: Channel
    outlet: Outlet
    cursor: Cursor
    live: bool = False
    missed: bool = True

    def fall_behind(self) -> None:
        """Read on from the history."""
        self.live, self.missed = False, True
        self.outlet.wake()


@dataclass(slots=True, eq=False)
class Channel:
    """One task that somebody watches. `seen` is the last frame that has come by live."""

    org: str
    task: str
    progress: Progress = field(default_factory=Progress)
    pending: list[RecordedEvent] | None = field(default_factory=list)
    loading: asyncio.Task[None] | None = None
    seen: Cursor = START
    watches: set[Watch] = field(default_factory=set)
    waiting: int = 0

    def fold(self, recorded: RecordedEvent) -> None:
        """Apply an event, and tell the watches what they have to know of it."""
        before = self.progress
        self.progress = evolve(
            before, recorded.event, position=recorded.position, occurred_at=recorded.occurred_at
        )
        if self.progress.changed != before.changed:
            frame = state_frame(self)
            for watch in tuple(self.watches):
                watch.outlet.put(frame)
        if self.progress.settled and not before.settled:
            for watch in self.watches:
                watch.fall_behind()

    def hear(self, frames: Frames) -> None:
        """Pass frames on, encoded once, to whoever stands right before them."""
        self.seen = max(self.seen, frames.end)
        shared: str | None = None
        for watch in tuple(self.watches):
            if not watch.live:
                watch.missed = True
                continue
            rest = frames.after(watch.cursor)
            if rest is None:
                continue
            if watch.cursor != (rest.attempt, rest.first - 1):
                watch.fall_behind()
                continue
            if rest is frames:
                shared = shared or output_frame(self, frames)
            watch.cursor = frames.end
            watch.outlet.put(shared if rest is frames and shared else output_frame(self, rest))


class Watchers:
    """All watches of a process. `tell` and `hear` are fed by the consumers, and never wait for anybody."""

    def __init__(
        self, queries: TaskQueries, history: OutputHistory, output: OutputStream, clock: Clock, wait_s: float
    ) -> None:
        self._queries, self._history, self._output = queries, history, output
        self._clock, self._wait_s = clock, wait_s
        self._channels: dict[tuple[str, str], Channel] = {}
        self._listening = asyncio.Event()
        self._position = 0

    def __len__(self) -> int:
        return sum(len(channel.watches) for channel in self._channels.values())

    def tell(self, recorded: RecordedEvent) -> None:
        """An event of the log."""
        self._position = recorded.position
        if not self._channels or recorded.type not in TasksView.handles:
            return
        channel = self._channels.get((recorded.event.org, recorded.event.task))
        if channel is None:
            return
        if channel.pending is not None:
            channel.pending.append(recorded)
        else:
            channel.fold(recorded)

    def hear(self, chunk: OutputChunk) -> None:
        """A chunk of output."""
        channel = self._channels.get((chunk.org, chunk.task))
        if channel is not None:
            channel.hear(Frames(chunk.attempt, chunk.first, chunk.frames))

    async def listen_again(self) -> None:
        """Output is heard from here on: what came while nobody listened is read, once per task."""
        self._listening.set()
        for channel in tuple(self._channels.values()):
            for number in range(max(1, channel.seen.attempt), channel.progress.attempt + 1):
                after = channel.seen.frame if number == channel.seen.attempt else 0
                for chunk in await self._output.read(channel.org, channel.task, number, after=after):
                    self.hear(chunk)

    def deaf(self) -> None:
        """Output is not heard from here on."""
        self._listening.clear()

    async def watch(
        self, org: str, task: str, outlet: Outlet, cursor: Cursor, min_position: int = 0
    ) -> Watch:
        """Begin to watch; the first frame is the state as it is now. Raises `TaskNotFound`, `NotCaughtUp`."""
        await self._queries.caught_up(min_position, self._wait_s)
        channel = self._channels.get((org, task))
        if channel is None:
            channel = self._channels[org, task] = Channel(org, task)
            channel.loading = asyncio.create_task(self._load(channel))
        channel.waiting += 1
        try:
            if channel.loading is not None:
                await asyncio.shield(channel.loading)
            watch = Watch(channel, outlet, cursor)
            channel.watches.add(watch)
        finally:
            channel.waiting -= 1
            self._forget_idle(channel)
        outlet.put(state_frame(channel))
        watch.fall_behind()
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End a watch."""
        watch.channel.watches.discard(watch)
        self._forget_idle(watch.channel)

    async def catch_up(self, watch: Watch, send: Send) -> bool:
        """Send the history from the watch's cursor until it is live. True when the task's output has ended."""
        channel = watch.channel
        await self._listening.wait()
        while watch.missed:
            watch.missed = False
            async for frames in self._history.read(
                channel.org, channel.task, channel.progress, watch.cursor, upto=channel.seen.attempt
            ):
                await send(output_frame(channel, frames))
                watch.cursor = frames.end
        watch.live = True
        return channel.progress.settled or self._overdue(channel.progress)

    def nudge(self) -> None:
        """Look again at tasks that have ended and whose runner keeps silent."""
        for channel in self._channels.values():
            if channel.progress.terminal and self._overdue(channel.progress):
                for watch in channel.watches:
                    watch.fall_behind()

    def _overdue(self, progress: Progress) -> bool:
        ended = progress.finished_at if progress.terminal else None
        return ended is not None and self._clock() - parse_timestamp(ended) > SETTLES_WITHIN

    async def _load(self, channel: Channel) -> None:
        """Take the progress from the view, as of at least what has been told before, and fold what came meanwhile."""
        try:
            await self._queries.caught_up(self._position, self._wait_s)
            row, as_of = await self._queries.get(channel.org, channel.task)
        except BaseException:
            self._channels.pop((channel.org, channel.task), None)
            raise
        channel.progress = row.progress
        pending, channel.pending, channel.loading = channel.pending or [], None, None
        for recorded in pending:
            if recorded.position > as_of:
                channel.fold(recorded)

    def _forget_idle(self, channel: Channel) -> None:
        idle = not channel.watches and not channel.waiting and channel.loading is None
        if idle and self._channels.get((channel.org, channel.task)) is channel:
            del self._channels[channel.org, channel.task]


def state_frame(channel: Channel) -> str:
    """The frame `state`: how far the task is, and since which position."""
    progress = channel.progress
    return _dump(
        type="state",
        task=channel.task,
        state=progress.state,
        reason=progress.reason,
        attempt=progress.attempt,
        position=progress.changed,
    )


def output_frame(channel: Channel, frames: Frames) -> str:
    """The frame `output`: frames of one attempt, and the cursor of the last."""
    return _dump(
        type="output",
        task=channel.task,
        attempt=frames.attempt,
        first=frames.first,
        cursor=str(frames.end),
        frames=frames.frames,
    )


def _dump(**fields: Any) -> str:
    return orjson.dumps(fields).decode()
