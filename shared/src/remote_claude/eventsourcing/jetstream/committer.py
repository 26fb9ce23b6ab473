"""Group commit: one committer per process, through which all of its appends go.

What arrives while one group is on its way makes the next. A busy process gets to the end of its turns first, since they
bring more; where it has nothing else to do, that is one. Of many only half make a group, so that the broker has one half
to work on while the other's callers come back; what that will send is ready when the answer comes, and goes before it is
passed on. A group holds at most one append of a stream, and none of a stream that is on its way, so that the second of two
finds the first one's position.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import chain, count
from uuid import uuid4

from remote_claude.eventsourcing.jetstream.append_answers import (
    Answer,
    Denied,
    Landed,
    Moved,
    RefusedAppend,
    Undecided,
)
from remote_claude.eventsourcing.jetstream.append_queue import (
    Append,
    AppendGroup,
    AppendQueue,
    EncodedMessage,
)
from remote_claude.eventsourcing.jetstream.direct_get import DirectReader, Last
from remote_claude.eventsourcing.jetstream.exchange import Exchange
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.log import (
    AppendRefused,
    ConcurrencyConflict,
    LogUnavailable,
    NotPermitted,
    landed,
)
from remote_claude.eventsourcing.stats import LogStats

WAITING_BYTES = 64 * 1024 * 1024
BUSY_S = 0.001
"""A turn of the loop that takes as long had something to do."""
MOST_BUSY_S = 0.05
"""So long a group waits, at most, for a turn in which the process has nothing else to do."""
MOST_FAILURES = 8
"""In a row, as far as they are counted: the pauses have long been as long as they get."""


class Committer:
    """Takes appends, commits them in groups, and answers each of them."""

    def __init__(
        self,
        wire: Wire,
        reader: DirectReader,
        stats: LogStats,
        *,
        bound: float,
        attempt_timeout: float,
        capacity: int,
    ) -> None:
        self._wire = wire
        self._reader = reader
        self._stats = stats
        self._bound = bound
        self._attempt_timeout = attempt_timeout
        self._capacity = capacity
        self._waiting = AppendQueue()
        self._room = asyncio.Event()
        self._arrived = asyncio.Event()
        self._id = uuid4().hex[:16]
        self._batches = count()
        self._failures = 0
        self._unanswered: tuple[float, int] | None = None  # since when, and on which connection
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many appends wait for the next group."""
        return self._waiting.appends

    def unanswered_s(self) -> float:
        """For how many seconds a connected broker has decided no append that was sent to it, 0 when it does."""
        if self._unanswered is None or self._unanswered[1] != self._wire.epoch or not self._wire.connected:
            return 0.0
        return time.monotonic() - self._unanswered[0]

    async def append(
        self, stream: str, expected: int, ids: Sequence[str], messages: Sequence[EncodedMessage], size: int
    ) -> int:
        """Commit with the next group; the position of the last message, or the errors that `EventLog` names."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._bound
        while self._full and not self._closed:
            self._room.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._room.wait()
            except TimeoutError:
                raise self._unavailable("the queue of appends stayed full") from None
        if self._closed:
            raise LogUnavailable("this event log has been closed; the append was not sent")
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="event log: group commit")
        append = Append(stream, expected, ids, messages, size, deadline, loop.create_future())
        self._waiting.add(append)
        self._arrived.set()
        return await append.done

    async def close(self) -> None:
        """Finish what is waiting, at most within its bound, then stop."""
        self._closed = True
        self._room.set()
        if self._task is not None:
            self._arrived.set()
            await self._task

    @property
    def _full(self) -> bool:
        return self._waiting.appends >= self._capacity or self._waiting.bytes >= WAITING_BYTES

    async def _run(self) -> None:
        sent: Exchange | None = None
        ready: Exchange | None = None
        group = AppendGroup([], [], [])
        try:
            while (group := await self._next(sent)) or sent:
                for append in group.expired:
                    self._fail(append, self._unavailable(append.reason))
                ready = self._exchange(group)
                answers = await sent.answers() if sent else []
                if ready and not await self._written(ready):
                    ready = None
                if sent:
                    await self._conclude(sent.group, answers, sent.batched)
                sent, ready = ready, None
        finally:  # ended from outside: nobody waits for ever
            self._closed = True
            self._room.set()
            stopped = LogUnavailable("the committer was stopped; whether the append landed isn't known")
            for taken in (group, *(exchange.group for exchange in (sent, ready) if exchange)):
                self._fail_all(taken, stopped)
            for append in self._waiting:
                self._fail(append, stopped)

    def _tell(self, group: AppendGroup) -> None:
        if self._stats.on_group is not None:
            settled = [append.deadline for append in group.together if append.done.done()]
            if settled:
                asked = min(settled) - self._bound
                self._stats.on_group(len(settled), asyncio.get_running_loop().time() - asked)

    async def _next(self, sent: Exchange | None) -> AppendGroup:
        """The next group, or an empty one when closing and nothing is left.

        While one is `sent`: half of what waits, as soon as the threshold is reached, to be ready for the answer; or an empty one when
        the answer is there first. After the answer, what waits goes with what the callers come back with in the same turn.
        """
        loop = asyncio.get_running_loop()
        while True:
            if sent is None:
                if self._waiting.appends:
                    await _idle()
                group = self._waiting.take(loop.time())
                self._room.set()
                if group:
                    return group
                if self._waiting.appends:  # those that were looked at had been given up
                    continue
                if self._closed:
                    return group
            elif self._waiting.fill_half(len(sent.group.together)):
                streams = {append.stream for append in sent.group.together}
                group = self._waiting.take(loop.time(), len(streams), streams)
                self._room.set()
                return group
            elif sent.answered:
                return AppendGroup([], [], [])
            self._arrived.clear()
            await self._arrived.wait()

    def _exchange(self, group: AppendGroup) -> Exchange | None:
        """A group's, ready to be written; None where nothing is left of it to be sent."""
        if not (group.together or group.superseded):
            return None
        try:
            exchange = Exchange(self._wire, group, f"{self._id}-{next(self._batches)}".encode())
        except Exception as error:
            self._fail_all(group, error)
            return None
        if exchange.batched:
            self._stats.batch(exchange.events)
        else:
            self._stats.publishes += exchange.events
        return exchange

    async def _written(self, ready: Exchange) -> bool:
        """Write it. False when that failed as nobody expects, and its callers know."""
        try:
            await ready.write(min(self._attempt_timeout, 2.0**self._failures), self._arrived.set)
        except Exception as error:
            self._fail_all(ready.group, error)
            return False
        return True

    async def _conclude(self, group: AppendGroup, answers: list[Answer], batched: bool) -> None:
        """Tell the callers. What is undecided goes back to the head of its queue."""
        try:
            undecided = await self._settle_all(group, answers, batched)
            self._again(undecided)
            self._tell(group)
        except Exception as error:
            self._fail_all(group, error)
            return
        if len(undecided) < len(group.together) + len(group.superseded):
            self._failures, self._unanswered = 0, None
        elif undecided:
            self._failures = min(self._failures + 1, MOST_FAILURES)
            if not self.unanswered_s():
                self._unanswered = time.monotonic(), self._wire.epoch
            if await self._wire.pause(min(0.005 * 2**self._failures, 0.5)):
                self._failures = 0

    async def _settle_all(self, group: AppendGroup, answers: list[Answer], batched: bool) -> list[Append]:
        """Settle what is decided by the answers. Returns the others."""
        together = group.together
        moved = [(append, append.superseded) for append in group.superseded]
        undecided: list[Append] = []
        for append, answer in zip(together, answers, strict=True):
            match answer:
                case Landed(position):
                    self._settle(append, position)
                case Moved(actual):
                    moved.append((append, actual))
                case Undecided(reason, apart):
                    append.reason = reason
                    if apart:
                        append.batch_size = max(1, len(together) // 2)
                    undecided.append(append)
                case RefusedAppend(reason) if (
                    batched and len(together) > 1
                ):  # perhaps because of one of them only
                    append.batch_size, append.reason = len(together) // 2, reason
                    undecided.append(append)
                case Denied(stream) if stream != append.stream:
                    append.reason = f"it was sent together with one to {stream}, which isn't permitted"
                    undecided.append(append)
                case Denied():
                    self._fail(append, NotPermitted(append.stream))
                case RefusedAppend():
                    self._fail(
                        append,
                        AppendRefused(f"the broker refuses an append to {append.stream}: {answer.reason}"),
                    )
        return undecided + await self._look(moved)

    async def _look(self, moved: Sequence[tuple[Append, int]]) -> list[Append]:
        """See which streams have moved, and by whom. Returns the appends that are still to be decided."""
        if not moved:
            return []
        try:
            lasts = await self._reader.lasts(
                list({append.stream: None for append, _ in moved}),
                reaching=max(actual for _, actual in moved),
            )
        except LogUnavailable as error:
            for append, _ in moved:
                append.reason = str(error)
            return [append for append, _ in moved]
        decided = await asyncio.gather(
            *(self._decide(append, lasts.get(append.stream, Last(0, ""))) for append, _ in moved)
        )
        return [append for (append, _), settled in zip(moved, decided, strict=True) if not settled]

    async def _decide(self, append: Append, last: Last) -> bool:
        """Has it landed before, or is it a conflict? False when neither is known."""
        if last.position == append.expected:
            return False  # another append of the batch was the reason
        try:
            if last.position < append.expected:  # is this replica behind, or was there never such a position?
                actual, position = await self._reader.leader_last(append.stream), None
                if actual >= append.expected:
                    return False
            elif last.event_id == append.ids[-1]:
                actual = position = last.position
            else:  # others have written since; an earlier attempt of ours may have been before them
                actual = last.position
                since = await self._reader.history(append.stream, after=append.expected, reaching=actual)
                position = landed(append.ids, [(event.event_id, event.position) for event in since])
        except LogUnavailable as error:
            append.reason = str(error)
            return False
        if position is not None:
            self._settle(append, position, before=True)
        else:
            self._stats.conflicts += 1
            self._waiting.overtake(append.stream, actual)
            self._fail(append, ConcurrencyConflict(append.stream, append.expected, actual))
        return True

    def _settle(self, append: Append, position: int, *, before: bool = False) -> None:
        if before:
            self._stats.landed_before += 1
        else:
            self._stats.appends += 1
            self._stats.events += len(append.messages)
        self._waiting.overtake(append.stream, position)
        if not append.done.done():
            append.done.set_result(position)

    def _fail(self, append: Append, error: Exception) -> None:
        if not append.done.done():
            append.done.set_exception(error)

    def _fail_all(self, group: AppendGroup, error: Exception) -> None:
        for append in chain(group.together, group.superseded):
            self._fail(append, error)

    def _again(self, undecided: list[Append]) -> None:
        closed = self._wire.client.is_closed
        now = asyncio.get_running_loop().time()
        for append in undecided:
            if closed:
                self._fail(append, LogUnavailable("the connection to the broker has been closed"))
            elif append.deadline <= now:
                self._fail(append, self._unavailable(append.reason))
            elif not append.done.done():
                self._stats.retries += 1
                self._waiting.add(append, first=True)

    def _unavailable(self, reason: str) -> LogUnavailable:
        self._stats.unavailable += 1
        return LogUnavailable(
            f"no answer from the broker within {self._bound} s ({reason}); "
            f"whether the append has landed isn't known: try again with the same ids"
        )


async def _idle() -> None:
    """Wait until the loop has nothing else to do, `MOST_BUSY_S` at most."""
    began = before = time.monotonic()
    while before - began < MOST_BUSY_S:
        await asyncio.sleep(0)
        now = time.monotonic()
        if now - before < BUSY_S:
            return
        before = now
