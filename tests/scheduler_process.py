"""A whole scheduler process over any event log, and the others around it: submitters and runners."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import UnionType
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from remote_claude.contracts import Event
from remote_claude.contracts.leases import HeldAttempt, LeaseAnswer, LeaseRequest
from remote_claude.contracts.scheduler import SchedulerEvent, TaskAdmitted, TaskAssigned
from remote_claude.eventsourcing.events import NewEvent, RecordedEvent, timestamp
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.scheduler.leadership import Election, Uncontested
from remote_claude.scheduler.process import Scheduler
from remote_claude.scheduler.projections.snapshots import NoSnapshots, Snapshots
from remote_claude.scheduler.settings import SchedulerSettings
from scheduling import finished, joined, started, stream_of

PATIENCE = 60.0

_schedulers: WeakKeyDictionary[EventLog, list[Scheduler]] = WeakKeyDictionary()


def now() -> datetime:
    return datetime.now(UTC)


async def say(log: EventLog, event: Event) -> int:
    """Append an event to its producer's stream, after whatever is there."""
    stream = stream_of(event)
    history = await log.read_stream(stream)
    new = NewEvent(event=event, event_id=str(uuid4()), occurred_at=timestamp(now()))
    return await log.append(stream, [new], expected_position=history[-1].position if history else 0)


async def say_at_once(log: EventLog, events: Iterable[Event]) -> None:
    await asyncio.gather(*(say(log, event) for event in events))


async def history(log: EventLog) -> list[RecordedEvent]:
    return [recorded async for batch in log.read() for recorded in batch]


async def decisions(log: EventLog) -> list[SchedulerEvent]:
    return [r.event for r in await history(log) if r.stream.startswith("ev.scheduler.")]


async def happened(
    tail: Tail, log: EventLog, fact: Callable[[list[SchedulerEvent]], bool]
) -> list[SchedulerEvent]:
    """Wait until what has been decided makes `fact` true; give it back."""
    seen: list[SchedulerEvent] = []
    async with asyncio.timeout(PATIENCE), aclosing(tail.subscribe(after=0)) as batches:
        async for batch in batches:
            seen += [r.event for r in batch if r.stream.startswith("ev.scheduler.")]
            if fact(seen):
                break
    return await decisions(log)


def count(kind: type[Any] | UnionType, n: int) -> Callable[[list[SchedulerEvent]], bool]:
    """The fact that at least `n` decisions are of a kind."""
    return lambda seen: sum(isinstance(event, kind) for event in seen) >= n


def is_admission(event: SchedulerEvent) -> bool:
    return isinstance(event, TaskAdmitted) or (
        isinstance(event, TaskAssigned) and event.admission is not None
    )


def admitted(seen: Iterable[SchedulerEvent]) -> list[str]:
    """The tasks that were admitted, whether or not they were assigned in the same decision."""
    return [event.task for event in seen if is_admission(event)]


def admissions(n: int) -> Callable[[list[SchedulerEvent]], bool]:
    """The fact that at least `n` tasks are admitted."""
    return lambda seen: len(admitted(seen)) >= n


def ended_once(seen: list[SchedulerEvent], terminal: Any) -> bool:
    """Whether every task that has ended has ended once, as its last word."""
    words = Counter(event.task for event in seen if isinstance(event, terminal))
    last = {event.task: event for event in seen}
    return set(words.values()) <= {1} and all(isinstance(last[task], terminal) for task in words)


async def ask(log: EventLog, request: LeaseRequest) -> LeaseAnswer | None:
    """What a request on the leases' subject comes to: all schedulers receive it, the leader answers."""
    answers = [await scheduler.requests.renew(request) for scheduler in list(_schedulers.get(log, []))]
    return next((answer for answer in answers if answer is not None), None)


@dataclass
class Process:
    """One scheduler process: its own tail, its own memory."""

    log: EventLog
    settings: SchedulerSettings = field(default_factory=lambda: SchedulerSettings(tick_s=0.05))
    election: Election = field(default_factory=Uncontested)
    snapshots: Snapshots = field(default_factory=NoSnapshots)
    answering: EventLog | None = None
    """The log, in this process, of the runners that it answers; its own unless set."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Scheduler]:
        async with Tail(self.log) as tail:
            scheduler = Scheduler(self.log, tail, now, self.settings, self.election, self.snapshots)
            task = asyncio.create_task(scheduler.run())
            answering = _schedulers.setdefault(self.answering or self.log, [])
            answering.append(scheduler)
            try:
                yield scheduler
            finally:
                answering.remove(scheduler)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                await scheduler.stop()


@dataclass
class SimulatedRunner:
    """A runner as the log sees one: joins, starts what it is assigned, finishes it as `outcome` says."""

    log: EventLog
    id: str = "run_1"
    slots: int = 4
    outcome: str | None = "succeeded"
    """None: attempts never end."""
    keeps: bool = True
    """Whether it says what it holds."""
    held: set[tuple[str, str, int]] = field(default_factory=set)
    revoked: list[HeldAttempt] = field(default_factory=list)
    most: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SimulatedRunner]:
        after = await self.log.last_position()
        async with Tail(self.log) as tail:
            await say(self.log, joined(self.id, self.slots))
            async with _background(self._work(tail, after), self._keep()):
                yield self

    async def _work(self, tail: Tail, after: int) -> None:
        async with asyncio.TaskGroup() as attempts, aclosing(tail.subscribe(after=after)) as batches:
            async for batch in batches:
                for recorded in batch:
                    if recorded.type == TaskAssigned.type and recorded.event.runner == self.id:
                        attempts.create_task(self._execute(recorded.event))

    async def _execute(self, assigned: TaskAssigned) -> None:
        key = assigned.org, assigned.task, assigned.attempt
        of = {k: getattr(assigned, k) for k in ("org", "task", "attempt", "runner")}
        self.held.add(key)
        self.most = max(self.most, len(self.held))
        await say(self.log, started(**of))
        if self.outcome is not None:
            self.held.discard(key)
            await say(self.log, finished(self.outcome, **of))

    async def _keep(self) -> None:
        while True:
            keeps = self.held if self.keeps else ()
            held = tuple(HeldAttempt(org=org, task=task, attempt=n) for org, task, n in keeps)
            answer = await ask(self.log, LeaseRequest(runner=self.id, attempts=held))
            if answer is not None:
                self.revoked += answer.revoked
                self.held -= {(h.org, h.task, h.attempt) for h in answer.revoked}
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _background(*work: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
