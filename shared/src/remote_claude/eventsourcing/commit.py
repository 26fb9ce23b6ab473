"""Group commit: one committer per process, through which all of its appends go.

What arrives while one group is on its way makes the next; nothing waits on a timer. A group holds at most one
append of a stream, so that the second of two finds the first one's position. A few single events go
as concurrent guarded publishes, anything else as one atomic batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count, islice
from typing import NamedTuple
from uuid import uuid4

from remote_claude.eventsourcing.answers import Answer, Landed, Moved, Refused, Undecided, read_answer
from remote_claude.eventsourcing.direct import DirectReader, Last
from remote_claude.eventsourcing.log import (
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    AppendRefused,
    ConcurrencyConflict,
    LogUnavailable,
    landed,
)
from remote_claude.eventsourcing.stats import LogStats
from remote_claude.eventsourcing.wire import ReplyHandler, Wire, publish_frame

SINGLES = 16
"""From here on a batch is quicker than guarded publishes side by side."""

WAITING_BYTES = 64 * 1024 * 1024


class Message(NamedTuple):
    """Header lines without the guard, and payload."""

    headers: bytes
    data: bytes


@dataclass(slots=True, eq=False)
class Append:
    """One caller's append. `deadline` is the loop's time."""

    stream: str
    expected: int
    ids: tuple[str, ...]
    messages: tuple[Message, ...]
    deadline: float
    done: asyncio.Future[int]
    alone: bool = False
    reason: str = "it was waiting for its turn"
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = sum(len(headers) + len(data) for headers, data in self.messages)


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
        self._waiting: dict[str, deque[Append]] = {}
        self.waiting = 0
        self._bytes = 0
        self._room = asyncio.Event()
        self._arrived = asyncio.Event()
        self._id = uuid4().hex[:16]
        self._batches = count()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def append(
        self, stream: str, expected: int, ids: Sequence[str], messages: Sequence[Message]
    ) -> int:
        """Commit with the next group; the position of the last message, or the errors that `EventLog` names."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._bound
        while self.waiting >= self._capacity or self._bytes >= WAITING_BYTES:
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
        append = Append(stream, expected, tuple(ids), tuple(messages), deadline, loop.create_future())
        self._enqueue(append)
        return await append.done

    async def close(self) -> None:
        """Finish what is waiting, at most within its bound, then stop."""
        self._closed = True
        if self._task is not None:
            self._arrived.set()
            await self._task

    def _enqueue(self, append: Append, *, first: bool = False) -> None:
        queue = self._waiting.setdefault(append.stream, deque())
        (queue.appendleft if first else queue.append)(append)
        self.waiting += 1
        self._bytes += append.size
        self._arrived.set()

    async def _run(self) -> None:
        group: list[Append] = []
        try:
            while group := await self._next():
                try:
                    await self._commit(group)
                except Exception as error:  # the callers get it
                    for append in group:
                        self._fail(append, error)
        finally:  # ended from outside: nobody waits for ever
            self._closed = True
            for append in chain(group, *self._waiting.values()):
                self._fail(
                    append, LogUnavailable("the committer was stopped; whether the append landed isn't known")
                )

    async def _next(self) -> list[Append]:
        """The next group, or none when closing and nothing is left."""
        while not (group := self._take()):
            if self.waiting:  # those at the head have expired; look at the next
                continue
            if self._closed:
                break
            self._arrived.clear()
            await self._arrived.wait()
        return group

    def _take(self) -> list[Append]:
        """The next group: the first append of each stream, as many as fit into one batch."""
        now = asyncio.get_running_loop().time()
        group: list[Append] = []
        messages = size = 0
        for stream in list(islice(self._waiting, MAX_BATCH_EVENTS)):
            queue = self._waiting[stream]
            append = queue[0]
            if append.done.done() or append.deadline <= now:
                self._dequeue(stream, queue)
                if not append.done.done():
                    append.done.set_exception(self._unavailable(append.reason))
                continue
            if group and (
                append.alone
                or messages + len(append.messages) > MAX_BATCH_EVENTS
                or size + append.size > MAX_BATCH_BYTES
            ):
                break
            group.append(append)
            messages, size = messages + len(append.messages), size + append.size
            self._dequeue(stream, queue)
            if append.alone:
                break
        return group

    def _dequeue(self, stream: str, queue: deque[Append]) -> None:
        append = queue.popleft()
        del self._waiting[stream]
        if queue:  # behind the other streams
            self._waiting[stream] = queue
        self.waiting -= 1
        self._bytes -= append.size
        self._room.set()

    async def _commit(self, group: list[Append]) -> None:
        """Send a group once. What is undecided after that goes back to the head of its queue."""
        if self._wire.client.is_closed:
            raise LogUnavailable("the connection to the broker has been closed")
        answers = await (self._publish_each(group) if self._few(group) else self._publish_batch(group))
        moved: list[tuple[Append, int]] = []
        undecided: list[Append] = []
        for append, answer in zip(group, answers, strict=True):
            match answer:
                case Landed(position):
                    self._settle(append, position)
                case Moved(actual):
                    moved.append((append, actual))
                case Undecided(reason, apart):
                    append.alone, append.reason = append.alone or apart, reason
                    undecided.append(append)
                case Refused(reason) if len(group) > 1:  # perhaps because of one of them only
                    append.alone, append.reason = True, reason
                    undecided.append(append)
                case Refused(reason):
                    self._fail(
                        append, AppendRefused(f"the broker refuses an append to {append.stream}: {reason}")
                    )
        if moved:
            undecided += await self._look(moved)
        self._again(undecided)
        if len(undecided) < len(group):
            self._failures = 0
        else:
            self._failures += 1
            await asyncio.sleep(min(0.005 * 2**self._failures, 0.5))

    @staticmethod
    def _few(group: list[Append]) -> bool:
        return len(group) < SINGLES and all(len(append.messages) == 1 for append in group)

    async def _publish_each(self, group: list[Append]) -> list[Answer]:
        """Guarded publishes, side by side."""
        self._stats.publishes += len(group)
        return await self._exchange([partial(_single, append) for append in group])

    async def _publish_batch(self, group: list[Append]) -> list[Answer]:
        """One atomic batch: all of the appends land, or none."""
        total = sum(len(append.messages) for append in group)
        self._stats.batch(total)
        # A batch id is never used twice, so halves of two attempts can't meet.
        batch_id = f"{self._id}-{next(self._batches)}".encode()
        [answer] = await self._exchange([partial(_batch, group, batch_id, total)])
        if not isinstance(answer, Landed):
            return [answer] * len(group)
        position = answer.position - total  # a batch has contiguous positions
        return [Landed(position := position + len(append.messages)) for append in group]

    async def _exchange(self, requests: list[Callable[[str], bytes]]) -> list[Answer]:
        """Send each with a reply subject of its own, and wait for the answers that come."""
        if not self._wire.connected:
            return [Undecided("not connected to the broker")] * len(requests)
        await self._wire.open()
        replies: dict[int, tuple[bytes, bytes]] = {}
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def receiver(n: int) -> ReplyHandler:
            def receive(headers: bytes, data: bytes) -> None:
                if headers or data:  # the empty one says that a batch has begun
                    replies.setdefault(n, (headers, data))
                    if len(replies) == len(requests) and not done.done():
                        done.set_result(None)

            return receive

        subjects = [self._wire.expect(receiver(n)) for n in range(len(requests))]
        try:
            epoch = self._wire.epoch
            await self._wire.send(
                b"".join(make(reply) for make, reply in zip(requests, subjects, strict=True))
            )
            await self._wire.arrives(done, epoch, self._attempt_timeout)
        finally:
            for subject in subjects:
                self._wire.forget(subject)
        return [
            read_answer(*replies[n]) if n in replies else Undecided("no answer") for n in range(len(requests))
        ]

    async def _look(self, moved: list[tuple[Append, int]]) -> list[Append]:
        """See which streams have moved, and by whom. Returns the appends that are still to be decided."""
        try:
            lasts = await self._reader.lasts(
                [append.stream for append, _ in moved], reaching=max(actual for _, actual in moved)
            )
            undecided = []
            for append, _ in moved:
                last = lasts.get(append.stream, Last(0, ""))
                if last.position == append.expected:
                    undecided.append(append)  # another append of the batch was the reason
                elif last.position > append.expected and last.event_id == append.ids[-1]:
                    self._settle(append, last.position, before=True)
                else:
                    await self._conflict_or_landed(append, last.position)
        except LogUnavailable as error:
            undecided = [append for append, _ in moved if not append.done.done()]
            for append in undecided:
                append.reason = str(error)
        return undecided

    async def _conflict_or_landed(self, append: Append, actual: int) -> None:
        """Others have written to the stream since; an earlier attempt of ours may have been before them."""
        since = await self._reader.history(append.stream, after=append.expected, reaching=actual)
        position = landed(append.ids, [(event.event_id, event.position) for event in since])
        if position is not None:
            self._settle(append, position, before=True)
        else:
            self._stats.conflicts += 1
            self._fail(append, ConcurrencyConflict(append.stream, append.expected, actual))

    def _settle(self, append: Append, position: int, *, before: bool = False) -> None:
        if before:
            self._stats.landed_before += 1
        else:
            self._stats.appends += 1
            self._stats.events += len(append.messages)
        if not append.done.done():
            append.done.set_result(position)

    def _fail(self, append: Append, error: Exception) -> None:
        if not append.done.done():
            append.done.set_exception(error)

    def _again(self, undecided: list[Append]) -> None:
        now = asyncio.get_running_loop().time()
        for append in undecided:
            if append.deadline <= now:
                self._fail(append, self._unavailable(append.reason))
            elif not append.done.done():
                self._stats.retries += 1
                self._enqueue(append, first=True)

    def _unavailable(self, reason: str) -> LogUnavailable:
        self._stats.unavailable += 1
        return LogUnavailable(
            f"no answer from the broker within {self._bound} s ({reason}); "
            f"whether the append has landed isn't known: try again with the same ids"
        )


def _guard(append: Append) -> bytes:
    return b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % append.expected


def _single(append: Append, reply: str) -> bytes:
    [message] = append.messages
    return publish_frame(append.stream, reply, _guard(append) + message.headers, message.data)


def _batch(group: list[Append], batch_id: bytes, total: int, reply: str) -> bytes:
    frames: list[bytes] = []
    for append in group:
        guard = _guard(append)  # on the first event of a stream only
        for message in append.messages:
            n = len(frames) + 1
            place = b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: %d\r\n" % (batch_id, n)
            if n == total:
                place += b"Nats-Batch-Commit: 1\r\n"
            answer_to = reply if n in (1, total) else ""  # the first is refused when too many are open
            frames.append(
                publish_frame(append.stream, answer_to, place + guard + message.headers, message.data)
            )
            guard = b""
    return b"".join(frames)
