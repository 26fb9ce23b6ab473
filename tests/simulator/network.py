"""The broker as a process sees it through a bad network: requests and answers are lost, late, sent twice, out of order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

from nats.errors import TimeoutError as NoAnswer
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError

from remote_claude.eventsourcing.events import Codec, NewEvent, RecordedEvent
from remote_claude.eventsourcing.log import LogUnavailable, PositionAhead
from remote_claude.eventsourcing.memory import InMemoryEventLog, subject_matches
from simulator.loop import is_dead, outside

Note = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How bad it is: probabilities for one message, and the longest delays in seconds."""

    lost: float = 0.0
    """A request that never arrives, or an answer that doesn't, though what was asked for was done."""
    twice: float = 0.0
    late: float = 0.0
    """A message that takes up to `lateness` instead of `latency`; others overtake it."""
    latency: float = 0.0
    lateness: float = 0.0


@dataclass(slots=True)
class Patience:
    """As the real client has it: how long until a request is sent again, and how often."""

    seconds: float = 1.0
    tries: int = 4


@dataclass(slots=True)
class Trap:
    """Springs at the n-th step of a process's requests: as one leaves, has been done, or is answered."""

    steps: int
    spring: Callable[[], None]


class Broker:
    """One log, one key-value bucket, and core NATS. `reachable` says who is cut off."""

    def __init__(
        self,
        codec: Codec,
        random: Random,
        *,
        faults: Faults = Faults(),
        note: Note = lambda *_, **__: None,
        heartbeat: float = 2.0,
        log: InMemoryEventLog | None = None,
    ) -> None:
        self.log = log or InMemoryEventLog(codec, heartbeat=heartbeat)
        self.faults = faults
        self.random = random
        self.note = note
        self.heartbeat = heartbeat
        self.up = True
        self.cut_off: set[str] = set()
        self.subscriptions: list[Subscription] = []
        self.values: dict[str, bytes] = {}
        self.patience = Patience()
        self.traps: dict[str, Trap] = {}
        self.moved = asyncio.Event()

    def heal(self) -> None:
        """Nothing goes wrong from here on."""
        self.faults = replace(self.faults, lost=0.0, twice=0.0, late=0.0)
        self.up = True
        self.cut_off.clear()

    def reaches(self, process: str) -> bool:
        return self.up and process not in self.cut_off

    def delay(self) -> float:
        """How long a message takes."""
        faults, random = self.faults, self.random
        if faults.late and random.random() < faults.late:
            return random.random() * faults.lateness
        return random.random() * faults.latency

    def loses(self) -> bool:
        return bool(self.faults.lost) and self.random.random() < self.faults.lost

    def later(self, call: Callable[..., None], *arguments: Any) -> None:
        """A message on its way: it belongs to nobody, and arrives even if its sender has died."""
        loop, delay = asyncio.get_running_loop(), self.delay()
        if delay:
            loop.call_later(delay, call, *arguments, context=outside())
        else:
            loop.call_soon(call, *arguments, context=outside())

    def copies(self) -> int:
        if self.loses():
            return 0
        return 2 if self.faults.twice and self.random.random() < self.faults.twice else 1

    async def ask(self, process: str, what: str, operation: Callable[[], Awaitable[Any]]) -> Any:
        """Have something done at the broker, once or more often. Raises `LogUnavailable`: then nothing is known of it."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        for _ in range(self.patience.tries):
            self._step(process)
            for _ in range(self.copies()):
                self.later(self._arrives, process, what, operation, answer)
            await asyncio.wait((answer,), timeout=self.patience.seconds)
            if answer.done():
                return answer.result()
        self.note("no answer", process=process, to=what)
        raise LogUnavailable(f"no answer to {what}")

    def _arrives(
        self,
        process: str,
        what: str,
        operation: Callable[[], Awaitable[Any]],
        answer: asyncio.Future[Any],
    ) -> None:
        if not self.reaches(process):
            return
        value: Any = None
        error: Exception | None = None
        try:
            value = at_once(operation())
        except Exception as raised:
            error = raised
        self._step(process)
        if self.loses():
            self.note("answer lost", process=process, to=what)
            return
        self.later(self._answered, process, answer, value, error)

    def _answered(
        self, process: str, answer: asyncio.Future[Any], value: Any, error: Exception | None
    ) -> None:
        self._step(process)
        if answer.done() or not self.reaches(process):
            return
        if error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)
            answer.exception()  # the caller may be gone

    def _step(self, process: str) -> None:
        if (trap := self.traps.get(process)) is not None:
            trap.steps -= 1
            if trap.steps <= 0:
                del self.traps[process]
                trap.spring()

    async def append(self, stream: str, events: Sequence[NewEvent], expected_position: int) -> int:
        before = await self.log.last_position()
        position = await self.log.append(stream, events, expected_position=expected_position)
        for recorded in self.log._events[before:]:
            self.note("event", recorded=recorded)
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()
        return position


def at_once(work: Awaitable[Any]) -> Any:
    """What a coroutine comes to that waits for nothing."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    raise AssertionError("the broker's own work waits for nothing")


class SimulatedLog:
    """An `EventLog`: one process's connection to the broker."""

    def __init__(self, broker: Broker, process: str = "process") -> None:
        self._broker, self._process = broker, process

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        _alive()
        events = list(events)
        position: int = await self._ask(
            f"append to {stream}", lambda: self._broker.append(stream, events, expected_position)
        )
        return position

    async def read_stream(self, stream: str, *, after: int = 0) -> list[RecordedEvent]:
        events: list[RecordedEvent] = await self._ask(
            f"read {stream}", lambda: self._broker.log.read_stream(stream, after=after)
        )
        return events

    async def last_position(self) -> int:
        position: int = await self._ask("last position", self._broker.log.last_position)
        return position

    async def read(
        self, *, after: int = 0, until: int | None = None, subjects: str | None = None
    ) -> AsyncGenerator[list[RecordedEvent], None]:
        last = await self.last_position()
        if after > last:
            raise PositionAhead(after, last)
        end = last if until is None else min(until, last)
        position = after
        while position < end:
            batch = (await self._ask("read", partial(self._batch, position)))[: end - position]
            position = batch[-1].position
            if subjects is not None:
                batch = [event for event in batch if subject_matches(subjects, event.stream)]
            if batch:
                yield batch

    async def follow(self, *, after: int) -> AsyncGenerator[list[RecordedEvent], None]:
        broker, position = self._broker, after
        while True:
            try:
                last = await self.last_position()
                break
            except LogUnavailable:  # it goes on until the broker is there
                continue
        if after > last:
            raise PositionAhead(after, last)
        while True:
            _alive()
            moved = broker.moved
            if broker.reaches(self._process) and position < len(broker.log._events):
                if (delay := broker.delay()) > 0:
                    await asyncio.sleep(delay)
                batch = await self._batch(position)
                position = batch[-1].position
                yield batch
                continue
            try:
                async with asyncio.timeout(broker.heartbeat):
                    await moved.wait()
            except TimeoutError:
                if broker.reaches(self._process):
                    yield []

    async def _batch(self, after: int) -> list[RecordedEvent]:
        most = 500 if not self._broker.faults.latency else self._broker.random.choice((1, 2, 7, 500))
        return self._broker.log._events[after : after + most]

    async def _ask(self, what: str, operation: Callable[[], Awaitable[Any]]) -> Any:
        _alive()
        answer = await self._broker.ask(self._process, what, operation)
        _alive()
        return answer


class Subscription:
    """Of core NATS: what is published while it lasts, by all that reach it."""

    def __init__(self, broker: Broker, process: str, subject: str) -> None:
        self.broker, self.process, self.subject = broker, process, subject
        self.queue: asyncio.Queue[Message] = asyncio.Queue()

    @property
    def messages(self) -> AsyncGenerator[Message, None]:
        return self._messages()

    async def _messages(self) -> AsyncGenerator[Message, None]:
        while True:
            yield await self.queue.get()

    async def unsubscribe(self) -> None:
        self.broker.subscriptions.remove(self)


@dataclass(slots=True)
class Message:
    data: bytes
    reply: str
    _client: SimulatedNats
    _answer: asyncio.Future[bytes]
    _sender: str

    async def respond(self, data: bytes) -> None:
        _alive()
        broker, me = self._client._broker, self._client._process

        def arrives() -> None:
            if broker.reaches(me) and broker.reaches(self._sender) and not self._answer.done():
                self._answer.set_result(data)

        for _ in range(broker.copies()):
            broker.later(arrives)


@dataclass(slots=True)
class Reply:
    data: bytes


class SimulatedNats:
    """What is used of a NATS client besides the log."""

    def __init__(self, broker: Broker, process: str) -> None:
        self._broker, self._process = broker, process

    async def subscribe(self, subject: str) -> Subscription:
        subscription = Subscription(self._broker, self._process, subject)
        self._broker.subscriptions.append(subscription)
        return subscription

    async def request(self, subject: str, data: bytes, timeout: float) -> Reply:
        _alive()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        broker = self._broker

        def arrives() -> None:
            if not broker.reaches(self._process):
                return
            for subscription in broker.subscriptions:
                if subscription.subject == subject and broker.reaches(subscription.process):
                    client = SimulatedNats(broker, subscription.process)
                    subscription.queue.put_nowait(Message(data, "reply", client, answer, self._process))

        for _ in range(broker.copies()):
            broker.later(arrives)
        await asyncio.wait((answer,), timeout=timeout)
        _alive()
        if not answer.done():
            raise NoAnswer
        return Reply(answer.result())


@dataclass(slots=True)
class Entry:
    value: bytes
    revision: int = 1


class SimulatedBucket:
    """The key-value bucket `KEYS`."""

    def __init__(self, broker: Broker, process: str) -> None:
        self._broker, self._process = broker, process

    async def get(self, name: str) -> Entry:
        async def found() -> Entry:
            if (value := self._broker.values.get(name)) is None:
                raise KeyNotFoundError
            return Entry(value)

        entry: Entry = await self._ask(f"get the key {name}", found)
        return entry

    async def create(self, name: str, value: bytes) -> None:
        async def made() -> None:
            if name in self._broker.values:
                raise KeyWrongLastSequenceError
            self._broker.values[name] = value

        await self._ask(f"make the key {name}", made)

    async def _ask(self, what: str, operation: Callable[[], Awaitable[Any]]) -> Any:
        _alive()
        try:
            answer = await self._broker.ask(self._process, what, operation)
        except LogUnavailable:
            raise NoAnswer from None
        _alive()
        return answer


def _alive() -> None:
    """What is left of a process that has died says and hears nothing."""
    if is_dead():
        raise asyncio.CancelledError
