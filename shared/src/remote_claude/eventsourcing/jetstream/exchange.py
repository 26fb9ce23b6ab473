"""A group of appends in flight: its frames, which are ready before they are sent, and the broker's answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from remote_claude.eventsourcing.jetstream.append_answers import (
    Answer,
    Denied,
    Landed,
    Undecided,
    read_answer,
)
from remote_claude.eventsourcing.jetstream.append_queue import Append, AppendGroup, batch, single
from remote_claude.eventsourcing.jetstream.nats_client import ReplyHandler, Wire
from remote_claude.eventsourcing.log import LogUnavailable

SINGLES = 16
"""From here on a batch is quicker than guarded publishes side by side."""


class Exchange:
    """What a group sends and gets: guarded publishes side by side when they are few, otherwise one atomic batch.

    All of a batch lands, or nothing. `batch_id` is one that has never been used, so halves of two attempts can't meet.
    """

    def __init__(self, wire: Wire, group: AppendGroup, batch_id: bytes) -> None:
        self.group = group
        together = group.together
        self.events = sum([len(append.messages) for append in together])
        self.batched = len(together) >= SINGLES or self.events > len(together)
        self._wire = wire
        self._requests: list[tuple[Callable[[str], bytes], Sequence[Append]]] = (
            [(partial(batch, together, batch_id, self.events), together)]
            if self.batched
            else [(partial(single, append), [append]) for append in together]
        )
        self._replies = [wire.expect(self._receiver(n)) for n in range(len(self._requests))]
        try:
            self._frames = b"".join(
                [make(reply) for (make, _), reply in zip(self._requests, self._replies, strict=True)]
            )
        except BaseException:
            self._forget()
            raise
        self._answers: dict[int, Answer] = {}
        self._silence = "no answer"
        self._done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def answered(self) -> bool:
        """Whether all of the answers are there, or none will come any more."""
        return self._done.done()

    async def write(self, timeout: float, then: Callable[[], None]) -> None:
        """Send the frames, and have `then` called when it is `answered`, after `timeout` seconds at most.

        Raises what is unexpected; whether anything was sent isn't known then, and no answer will come.
        """
        self._done.add_done_callback(lambda _: self._end(then))
        self._wire.deniers.append(self._denied)
        try:
            if not self._frames:
                self._done.set_result(True)
            elif not self._wire.connected:
                raise LogUnavailable("not connected to the broker")
            else:
                await self._wire.open()
                self._wire.watch(self._done, self._wire.epoch, timeout)
                if not self._done.done():  # otherwise the connection was lost meanwhile
                    await self._wire.send(self._frames)
        except Exception as error:
            self._silence = str(error)
            if not self._done.done():
                self._done.set_result(False)
            if not isinstance(error, LogUnavailable):
                raise

    async def answers(self) -> list[Answer]:
        """One for each append of the group."""
        await self._done
        found = [self._answers.get(n, Undecided(self._silence)) for n in range(len(self._requests))]
        if not self.batched:
            return found
        [answer] = found
        if not isinstance(answer, Landed):
            return [answer] * len(self.group.together)
        position = answer.position - self.events  # a batch has contiguous positions
        return [Landed(position := position + len(append.messages)) for append in self.group.together]

    def _receiver(self, n: int) -> ReplyHandler:
        def receive(headers: bytes, data: bytes) -> None:
            if headers or data:  # the empty one says that a batch has begun
                self._receive(n, read_answer(headers, data))

        return receive

    def _receive(self, n: int, answer: Answer) -> None:
        self._answers.setdefault(n, answer)
        if len(self._answers) == len(self._requests) and not self._done.done():
            self._done.set_result(True)

    def _denied(self, subject: str) -> None:
        for n, (_, appends) in enumerate(self._requests):
            if any(append.stream == subject for append in appends):
                self._receive(n, Denied(subject))

    def _end(self, then: Callable[[], None]) -> None:
        self._wire.deniers.remove(self._denied)
        self._forget()
        then()

    def _forget(self) -> None:
        for reply in self._replies:
            self._wire.forget(reply)
