"""What the runner records: the stream of each attempt, and who opens a terminal or a port of a sandbox.

A runner writes the stream of its attempt without reading it back: decide, append, evolve. The shared `CommandHandler` reads an aggregate before each command, and decides again after a conflict. An attempt has one
writer, which knows its state; a conflict says that another runner has taken the attempt. Ids are derived, so that an append
without an answer can be sent again.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from remote_claude.access.principal import Principal
from remote_claude.contracts.runner import AccessEvent, PortOpened, ShellOpened
from remote_claude.eventsourcing.command_handler import CommandHandler, Decider
from remote_claude.eventsourcing.events import Clock, NewEvent, caused_id, stream_id, timestamp
from remote_claude.eventsourcing.log import ConcurrencyConflict, EventLog
from remote_claude.eventsourcing.traces import of_event
from remote_claude.runner.domain.attempt import (
    AttemptId,
    Command,
    State,
    decide,
    evolve,
    fold,
    initial_state,
)
from remote_claude.runtime.ids import derived_id, new_id

ACCESSES = UUID("2f0c9c0e-6a49-5a53-9b53-2c5c6d0f3f0b")
ACCESS = Decider[AccessEvent, bool](
    False, lambda event, recorded: [] if recorded else [event], lambda *_: True
)


class Superseded(Exception):
    """Another runner has written this attempt's stream: this one is stale and must stop."""

    code = "attempt_superseded"


class AttemptLog:
    """Records what happens in one attempt. `cause` is the event id of its assignment, `traceparent` that event's."""

    def __init__(
        self, log: EventLog, clock: Clock, id: AttemptId, cause: str, traceparent: str | None = None
    ) -> None:
        self._log, self._clock, self._id = log, clock, id
        self.cause, self.traceparent = cause, traceparent
        self._stream = stream_id("runner", id.org, "attempt", f"{id.task}-{id.attempt}")
        self._state: State = initial_state
        self._position = 0
        self._recorded = 0
        self._sent: list[NewEvent] = []
        """What may have landed: no answer has come yet."""
        self._turn = asyncio.Lock()

    @property
    def state(self) -> State:
        """The state after what is recorded so far."""
        return self._state

    async def load(self) -> None:
        """Read a stream that an earlier process of this runner wrote."""
        history = await self._log.read_stream(self._stream)
        self._state = fold([recorded.event for recorded in history])
        self._position = history[-1].position if history else 0
        self._recorded = len(history)
        self._sent = []

    async def record(self, *commands: Command) -> int:
        """Append what follows from the commands, as one; returns the position. Raises `Superseded`, `LogUnavailable`.

        What an earlier call got no answer to goes first: the same events again, since they may have landed.
        """
        async with self._turn:
            await self._send()
            state, events = self._state, []
            for command in commands:
                for event in decide(self._id, command, state):
                    events.append(event)
                    state = evolve(state, event)
            now = timestamp(self._clock())
            self._sent = [
                NewEvent(
                    event=event,
                    event_id=(id := caused_id(self.cause, f"runner/{event.type}", self._recorded + n)),
                    occurred_at=now,
                    subject=self._id.task,
                    correlation_id=self._id.task,
                    causation_id=self.cause,
                    traceparent=of_event(self.traceparent, id),
                )
                for n, event in enumerate(events)
            ]
            await self._send()
            return self._position

    async def _send(self) -> None:
        if not self._sent:
            return
        try:
            self._position = await self._log.append(
                self._stream, self._sent, expected_position=self._position
            )
        except ConcurrencyConflict as error:
            raise Superseded(str(error)) from error
        for new in self._sent:
            self._state = evolve(self._state, new.event)
        self._recorded += len(self._sent)
        self._sent = []


class Accesses:
    """Records who has opened a terminal or a port of a sandbox: the audit shows it."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._handler = CommandHandler(log, clock)

    async def shell(self, who: Principal, task: str) -> None:
        """Record a terminal. Raises what `EventLog` raises."""
        await self._record(new_id("access"), ShellOpened(org=who.org, user=who.user, task=task))

    async def port(self, who: Principal, task: str, port: int) -> None:
        """Record a port, once for each credential: a page is many connections. Raises what `EventLog` raises."""
        id = derived_id("access", ACCESSES, task, who.credential.id, str(port))
        await self._record(id, PortOpened(org=who.org, user=who.user, task=task, port=port))

    async def _record(self, id: str, event: AccessEvent) -> None:
        stream = stream_id("runner", event.org, "access", id)
        await self._handler.handle(
            ACCESS, stream, event, subject=event.task, correlation_id=event.task, new=True
        )
