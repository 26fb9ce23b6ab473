"""Who watches which task: one reader of the log and one of the output per process, for all watchers.

The latest output of a watched task is in a ring, encoded once. A watcher pulls what comes after its cursor: out of the
ring, or, where its cursor is before the ring, out of the history. Frame numbers join the two without a gap or a
duplicate; a slow watcher holds nothing but its cursor.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import orjson

from remote_claude.access.principal import Principal
from remote_claude.contracts.gateway import (
    BatchCancellationRequested,
    BatchEnded,
    BatchEvent,
    BatchItemRefused,
    BatchSubmitted,
)
from remote_claude.contracts.refusals import NotCaughtUp
from remote_claude.contracts.runner import UsageRecorded
from remote_claude.contracts.scheduler import (
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.edge.websocket_frames import text_frame
from remote_claude.eventsourcing.events import Clock, RecordedEvent, parse_timestamp
from remote_claude.gateway.domain.cursor import START, Cursor
from remote_claude.gateway.domain.lifecycle import State, TaskProgress
from remote_claude.gateway.live_tasks import LiveTasks, WatchedTask
from remote_claude.gateway.projections.output_frames import FrameRange, OutputHistory
from remote_claude.gateway.projections.queries import Task, check_seen
from remote_claude.gateway.projections.tasks import TasksView
from remote_claude.runtime.agent_output import OutputChunk, OutputUnavailable

SETTLES_WITHIN = timedelta(seconds=15)
"""How long after its end a task's runner is waited for: it may have the last of the output still."""

LAGGING_S = 0.05
ENDS: dict[str, State] = {
    TaskSucceeded.type: "succeeded",
    TaskFailed.type: "failed",
    TaskCancelled.type: "cancelled",
    TaskTimedOut.type: "timed_out",
    TaskRejected.type: "rejected",
}
"""Events that end a task."""
BATCH_CHANGES = frozenset(
    event.type for event in (BatchSubmitted, BatchItemRefused, BatchCancellationRequested, BatchEnded)
)


class Outlet(Protocol):
    """Where a watch's frames go: a socket."""

    def put(self, text: str) -> None:
        """Queue a frame."""

    def wake(self) -> None:
        """One of its watches has something to pull."""

    def write(self, frame: bytes) -> bool:
        """Send an encoded frame now; False where something is to be sent before it, or the client is to be waited for."""

    def sees(self, task: Task | None) -> bool:
        """Whether it may see a task; None is one that is not held here."""

    def sees_batch_of(self, user: str | None) -> bool:
        """Whether it may see the batches of a person; None is one who is not known here."""

    def changed(self, task: str | None, position: int) -> None:
        """A task of the organisation that it follows has another state, since a position; None: one not named here."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames with their encoded form; `end` is the cursor of the last."""

    frames: FrameRange
    end: Cursor
    text: str

    @property
    def before(self) -> Cursor:
        """The cursor of what comes before it."""
        return Cursor(self.frames.attempt, self.frames.first - 1)


@dataclass(slots=True, eq=False)
class TaskChannel:
    """One task that somebody watches.

    `newest` is the last frame that has arrived live; `base` is the cursor before the ring, None while it is empty.
    """

    org: str
    task: str
    live: WatchedTask
    ring_bytes: int
    base: Cursor | None = None
    newest: Cursor = START
    watches: set[Watch] = field(default_factory=set)
    _ring: list[Piece] = field(default_factory=list)
    _size: int = 0

    @property
    def progress(self) -> TaskProgress:
        """How far the task is."""
        return self.live.progress

    def on_change(self, before: TaskProgress) -> None:
        """Pass on to the watches what an event has changed."""
        if self.progress.changed != before.changed:
            frame = state_frame(self)
            for watch in self.watches:
                watch.outlet.put(frame)
        if self.progress.settled and not before.settled:
            self.look_again()

    def on_output(self, frames: FrameRange) -> None:
        """Take live frames into the ring. Where they don't go on from its end, it starts over."""
        if frames.end <= self.newest:
            return
        rest = frames.after(self.newest) or frames
        if self.newest != (rest.attempt, rest.first - 1) or self.base is None:
            self._ring.clear()
            self._size = 0
            self.base = Cursor(rest.attempt, rest.first - 1)
        piece = Piece(rest, rest.end, output_frame(self, rest))
        self.newest = piece.end
        self._ring.append(piece)
        self._size += len(piece.text)
        while self._size > self.ring_bytes and len(self._ring) > 1:
            oldest = self._ring.pop(0)
            self.base = oldest.end
            self._size -= len(oldest.text)
        encoded = text_frame(piece.text)
        for watch in self.watches:
            watch.push(piece, encoded)

    def after(self, cursor: Cursor) -> Piece | None:
        """What the ring has right after a cursor; None when that is nothing, or before the ring."""
        if self.base is None or not self.base <= cursor < self.newest:
            return None
        piece = self._ring[bisect_right(self._ring, cursor, key=_end)]
        rest = piece.frames.after(cursor)
        if rest is piece.frames or rest is None:
            return piece
        return Piece(rest, rest.end, output_frame(self, rest))

    def look_again(self) -> None:
        """Let every watch look into the history once more."""
        for watch in self.watches:
            watch.due = True
            watch.outlet.wake()


@dataclass(slots=True, eq=False)
class Watch:
    """One socket's interest in one task. `cursor` is the last frame that was pulled.

    `due` says that there may be something in the history that does not come by live.
    """

    channel: TaskChannel
    outlet: Outlet
    cursor: Cursor
    _watchers: Watchers
    due: bool = True
    _history: AsyncGenerator[FrameRange, None] | None = None

    def push(self, piece: Piece, encoded: bytes) -> None:
        """Send what has just arrived, encoded once for all, to a client that has all before it; wake any other."""
        follows = self.cursor == piece.before and self._history is None and not self.due
        if follows and self.outlet.write(encoded):
            self.cursor = piece.end
        else:
            self.outlet.wake()

    async def pull(self) -> str | None:
        """The next frame to send; None when there is none for now. Raises what reading the history raises."""
        channel = self.channel
        while True:
            if (piece := channel.after(self.cursor)) is not None:
                await self.close()
                self.cursor = piece.end
                return piece.text
            before_ring = channel.base is not None and self.cursor < channel.base
            if self._history is None:
                if not self.due and not before_ring:
                    return None
                self._history = await self._watchers.history(self)
            frames = await anext(self._history, None)
            if frames is None:
                self._history = None
                if before_ring and channel.base is not None and self.cursor < channel.base:
                    await self._reach(channel.base)
            elif (rest := frames.after(self.cursor)) is not None:
                self.cursor = rest.end
                return output_frame(channel, rest)

    async def _reach(self, base: Cursor) -> None:
        """Read what is before the ring, for one watch; what is lost is left out."""
        if await self._watchers.lags(self, base.attempt):
            await asyncio.sleep(LAGGING_S)
        else:
            self.cursor = base

    async def close(self) -> None:
        """Let go of the history."""
        if self._history is not None:
            history, self._history = self._history, None
            await history.aclose()


def _end(piece: Piece) -> Cursor:
    return piece.end


class Watchers:
    """All watches of a process. The consumers call `on_event` and `on_output`, which never wait."""

    def __init__(
        self,
        tasks: LiveTasks,
        history: OutputHistory,
        clock: Clock,
        *,
        wait_s: float,
        ring_bytes: int,
    ) -> None:
        self._tasks, self._history, self._clock = tasks, history, clock
        self._wait_s, self._ring_bytes = wait_s, ring_bytes
        self._channels: dict[tuple[str, str], TaskChannel] = {}
        self._followers: defaultdict[str, set[Outlet]] = defaultdict(set)
        self._batch_users: dict[str, str] = {}  # who submitted what runs and was submitted since the start
        self._ends: defaultdict[str, list[tuple[dict[str, Any], Task | None]]] = defaultdict(list)
        self._connected = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(channel.watches) for channel in self._channels.values())

    def on_event(self, recorded: RecordedEvent) -> None:
        """An event of the log, which the live tasks have folded."""
        if recorded.type in BATCH_CHANGES:
            self._on_batch_event(recorded.event, recorded.position)
        if not self._followers or recorded.type not in TasksView.handles:
            return
        event = recorded.event
        if recorded.type != UsageRecorded.type and event.org in self._followers:
            live = self._tasks.find(event.org, event.task)
            task = live.submission if live is not None else None
            for follower in self._followers[event.org]:
                if follower.sees(task):
                    follower.changed(event.task, recorded.position)
                elif task is None:
                    follower.changed(None, recorded.position)
            if (state := ENDS.get(recorded.type)) is not None:
                end = {"task": event.task, "state": state, "position": recorded.position}
                self._ends[event.org].append((end, task))

    def _on_batch_event(self, event: BatchEvent, position: int) -> None:
        if isinstance(event, BatchSubmitted):
            self._batch_users[event.batch] = event.user
        user = self._batch_users.get(event.batch)
        if isinstance(event, BatchEnded):
            self._batch_users.pop(event.batch, None)
        frame = _dump(type="batch", batch=event.batch, position=position)
        for follower in self._followers.get(event.org, ()):
            if follower.sees_batch_of(user):
                follower.put(frame)
            elif user is None:
                follower.changed(None, position)

    def on_batch(self) -> None:
        """The log has no more for now: what has ended goes out, to each organisation's followers in the same frame."""
        for org, ends in self._ends.items():
            position = ends[-1][0]["position"]
            whole = _dump(type="ended", tasks=[end for end, _ in ends], position=position)
            for follower in self._followers.get(org, ()):
                seen = [end for end, task in ends if follower.sees(task)]
                if len(seen) == len(ends):
                    follower.put(whole)
                elif seen:
                    follower.put(_dump(type="ended", tasks=seen, position=position))
        self._ends.clear()

    def on_output(self, chunk: OutputChunk) -> None:
        """A chunk of output."""
        channel = self._channels.get((chunk.org, chunk.task))
        if channel is not None:
            channel.on_output(FrameRange(chunk.attempt, chunk.first, chunk.frames))

    def on_connect(self) -> None:
        """Output arrives from here on. The history has what came before."""
        self._connected.set()
        for channel in self._channels.values():
            channel.look_again()

    def on_disconnect(self) -> None:
        """No output arrives from here on."""
        self._connected.clear()

    async def history(self, watch: Watch) -> AsyncGenerator[FrameRange, None]:
        """The history after a watch's cursor. It waits until output arrives, so that nothing is missed between.

        Raises `OutputUnavailable`.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                await self._connected.wait()
        except TimeoutError as error:
            raise OutputUnavailable(f"no output arrives within {self._wait_s} s") from error
        watch.due = False
        channel = watch.channel
        return self._history.read(
            channel.org, channel.task, channel.progress, watch.cursor, upto=channel.newest.attempt
        )

    async def lags(self, watch: Watch, attempt: int) -> bool:
        """Whether the history will have what it does not have yet of an attempt after a watch's cursor."""
        channel = watch.channel
        return await self._history.lags(
            channel.org, channel.task, channel.progress, watch.cursor, upto=attempt
        )

    async def watch(
        self, who: Principal, task: str, outlet: Outlet, cursor: Cursor, min_position: int = 0
    ) -> Watch:
        """Begin to watch; the first frame is the state as it is now. Raises `TaskNotFound`, `NotCaughtUp`."""
        org = who.org
        if not await self._tasks.wait_for(min_position, self._wait_s):
            raise NotCaughtUp(min_position, self._tasks.position)
        live = await self._tasks.get(org, task)
        check_seen(who, live.submission)
        channel = self._channels.get((org, task))
        if channel is None:
            channel = self._channels[org, task] = TaskChannel(org, task, live, self._ring_bytes)
            live.listeners.add(channel.on_change)
        watch = Watch(channel, outlet, cursor, self)
        channel.watches.add(watch)
        outlet.put(state_frame(channel))
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End a watch."""
        channel = watch.channel
        channel.watches.discard(watch)
        if not channel.watches and self._channels.get((channel.org, channel.task)) is channel:
            del self._channels[channel.org, channel.task]
            channel.live.listeners.discard(channel.on_change)

    def follow(self, org: str, outlet: Outlet) -> None:
        """Report every task of an organisation that changes, from here on."""
        self._followers[org].add(outlet)

    def unfollow(self, org: str, outlet: Outlet) -> None:
        """Report no longer."""
        if (followers := self._followers.get(org)) is not None:
            followers.discard(outlet)
            if not followers:
                del self._followers[org]

    def is_over(self, watch: Watch) -> bool:
        """Whether nothing comes any more, for a watch that has pulled all there is."""
        progress = watch.channel.progress
        return not watch.due and (progress.settled or self._overdue(progress))

    def nudge(self) -> None:
        """Look again at tasks that have ended and whose runner keeps silent."""
        for channel in self._channels.values():
            if not channel.progress.settled and self._overdue(channel.progress):
                channel.look_again()

    def _overdue(self, progress: TaskProgress) -> bool:
        ended = progress.finished_at if progress.terminal else None
        return ended is not None and self._clock() - parse_timestamp(ended) > SETTLES_WITHIN


def state_frame(channel: TaskChannel) -> str:
    """The frame `state`: how far the task is, and since which position."""
    progress = channel.progress
    return _dump(
        type="state",
        task=channel.task,
        state=progress.state,
        reason=progress.reason,
        attempt=progress.attempt,
        position=progress.changed,
        permissions=[asked.request for asked in progress.permissions],
    )


def output_frame(channel: TaskChannel, frames: FrameRange) -> str:
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
