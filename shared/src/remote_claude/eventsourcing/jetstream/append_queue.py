"""Appends that wait for their turn, the groups that are taken from them, and the frames they go in."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

from remote_claude.eventsourcing.log import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from remote_claude.eventsourcing.message_frames import publish_frame

BATCH_THRESHOLD = 256
"""From so many appends on, two groups in turn are quicker than one of all of them."""


class EncodedMessage(NamedTuple):
    """Header lines without the guard, and payload."""

    headers: bytes
    data: bytes


@dataclass(slots=True, eq=False)
class Append:
    """One caller's append, of `size` bytes. `deadline` is the loop's time.

    It shares a group with `batch_size - 1` others at most. `superseded` is where its stream is known to be,
    past what it expects.
    """

    stream: str
    expected: int
    ids: Sequence[str]
    messages: Sequence[EncodedMessage]
    size: int
    deadline: float
    done: asyncio.Future[int]
    batch_size: int = MAX_BATCH_EVENTS
    superseded: int = 0
    reason: str = "it was waiting for its turn"


class AppendGroup(NamedTuple):
    """What is dealt with at once: to be sent `together`, only to be looked up (`superseded`), or too late."""

    together: list[Append]
    superseded: list[Append]
    expired: list[Append]

    def __bool__(self) -> bool:
        return bool(self.together or self.superseded or self.expired)


class AppendQueue:
    """A queue for each stream. A group takes one append of each, so that a second one finds the first one's position."""

    def __init__(self) -> None:
        self._queues: dict[str, list[Append]] = {}
        self.appends = self.bytes = 0

    def __iter__(self) -> Iterator[Append]:
        return chain.from_iterable(self._queues.values())

    def add(self, append: Append, *, first: bool = False) -> None:
        """At the end of its stream's queue, or at the head: it was there before."""
        queue = self._queues.get(append.stream)
        if queue is None:
            self._queues[append.stream] = [append]
        elif first:
            queue.insert(0, append)
        else:
            queue.append(append)
        self.appends += 1
        self.bytes += append.size

    def overtake(self, stream: str, position: int) -> None:
        """What expects an earlier position of the stream need not be sent any more."""
        for append in self._queues.get(stream, ()):
            if append.expected < position:
                append.superseded = position

    def fill_half(self, sent: int) -> bool:
        """Whether they reach the threshold with those that have been `sent`, and are not the smaller half."""
        return len(self._queues) >= max(min(sent, MAX_BATCH_EVENTS), BATCH_THRESHOLD - sent)

    def take(self, now: float, others: int = 0, apart: Container[str] = ()) -> AppendGroup:
        """The next group: the first append of each stream, as many as fit into one batch, `apart` from some streams.

        From the threshold on it takes half, `others` included that are on their way or have been answered just now: while the
        broker works on one half, the callers of the other come back. All of them at once would find it idle, and
        leave it so.
        """
        group = AppendGroup([], [], [])
        events = size = 0
        waiting = len(self._queues) + others
        batch_size = min(MAX_BATCH_EVENTS, waiting if waiting < BATCH_THRESHOLD else (waiting + 1) // 2)
        for stream, queue in list(islice(self._queues.items(), batch_size)):
            if stream in apart:
                continue
            append = self._settled_first(queue, group, now)
            if append is None:
                del self._queues[stream]
                continue
            batch_size = min(batch_size, append.batch_size)
            events, size = events + len(append.messages), size + append.size
            if group.together and (
                len(group.together) >= batch_size or events > MAX_BATCH_EVENTS or size > MAX_BATCH_BYTES
            ):
                break
            group.together.append(self._pop(queue))
            del self._queues[stream]
            if queue:  # behind the other streams
                self._queues[stream] = queue
        return group

    def _settled_first(self, queue: list[Append], group: AppendGroup, now: float) -> Append | None:
        """Take off what needs no sending; the first that does."""
        while queue:
            append = queue[0]
            if append.superseded:
                group.superseded.append(append)
            elif append.deadline <= now:
                group.expired.append(append)
            elif not append.done.done():
                return append
            self._pop(queue)
        return None

    def _pop(self, queue: list[Append]) -> Append:
        append = queue.pop(0)
        self.appends -= 1
        self.bytes -= append.size
        return append


def single(append: Append, reply: str) -> bytes:
    """One event as a guarded publish."""
    [message] = append.messages
    return publish_frame(append.stream, reply, _guard(append) + message.headers, message.data)


def batch(appends: Sequence[Append], batch_id: bytes, total: int, reply: str) -> bytes:
    """One atomic batch of `total` events. The first and the last are answered."""
    frames: list[bytes] = []
    place = b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: " % batch_id
    n = 0
    for append in appends:
        guard = _guard(append)  # on the first event of a stream only
        for headers, data in append.messages:
            n += 1
            if n == total:
                guard += b"Nats-Batch-Commit: 1\r\n"
            answer = reply if n in (1, total) else ""  # the first is refused when too many are open
            block = b"%b%d\r\n%b%b" % (place, n, guard, headers)
            frames.append(publish_frame(append.stream, answer, block, data))
            guard = b""
    return b"".join(frames)


def _guard(append: Append) -> bytes:
    return b"Nats-Expected-Last-Subject-Sequence: %d\r\n" % append.expected
