"""The command handler: load an aggregate, decide, append; again when another writer was faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from remote_claude.eventsourcing import actors
from remote_claude.eventsourcing.events import (
    Clock,
    NewEvent,
    NewEventId,
    RecordedEvent,
    new_event_id,
    timestamp,
)
from remote_claude.eventsourcing.log import ConcurrencyConflict, EventLog
from remote_claude.eventsourcing.traces import current, of_event

C = TypeVar("C", contravariant=True)
S = TypeVar("S")


@dataclass(frozen=True)
class Decider(Generic[C, S]):
    """An aggregate as three pure values: its first state, `decide(command, state) -> events`, `evolve(state, event)`."""

    initial_state: S
    decide: Callable[[C, S], Sequence[Any]]
    evolve: Callable[[S, Any], S]

    def fold(self, history: Sequence[RecordedEvent]) -> S:
        """The state after these events."""
        state = self.initial_state
        for recorded in history:
            state = self.evolve(state, recorded.event)
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """What a command has come to.

    `position` is that of the aggregate's last event, 0 where it has none; `first_position` that of its first event.
    `events` are those that were recorded now: none where the command had been carried out before.
    """

    position: int
    first_position: int
    events: tuple[Any, ...]


class CommandHandler:
    """Handles the commands of one service.

    Every event gets a new id from `event_id`, the time of `clock`, a correlation id, the current trace and actor. An aggregate is written
    under its expected position, so two commands at the same time are decided one after the other.
    """

    def __init__(self, log: EventLog, clock: Clock, event_id: NewEventId = new_event_id) -> None:
        self._log, self._clock, self._event_id = log, clock, event_id

    async def load(self, decider: Decider[Any, S], stream: str) -> tuple[S, int]:
        """The state of an aggregate and the position of its last event, 0 for none."""
        history = await self._log.read_stream(stream)
        return decider.fold(history), history[-1].position if history else 0

    async def handle(
        self,
        decider: Decider[C, S],
        stream: str,
        command: C,
        *,
        subject: str | None = None,
        correlation_id: str | None = None,
        now: datetime | None = None,
        new: bool = False,
    ) -> Handled:
        """Decide on a command and record what was decided.

        `correlation_id` is the aggregate's id unless it is given, `now` the clock's time. `new`: the aggregate does
        not exist as a rule, so it is read only if the append says otherwise. Raises what `decide` raises, and
        what `EventLog` raises except `ConcurrencyConflict`.
        """
        history: Sequence[RecordedEvent] = () if new else await self._log.read_stream(stream)
        while True:
            position = history[-1].position if history else 0
            first = history[0].position if history else 0
            events = tuple(decider.decide(command, decider.fold(history)))
            if not events:
                return Handled(position=position, first_position=first, events=())
            occurred_at = timestamp(now or self._clock())
            actor = actors.current.get()
            envelopes = [
                NewEvent(
                    event=event,
                    event_id=(event_id := self._event_id()),
                    occurred_at=occurred_at,
                    subject=subject,
                    correlation_id=correlation_id or stream.rpartition(".")[2],
                    traceparent=of_event(current.get(), event_id),
                    actor=actor.id if actor else None,
                    origin=actor.origin if actor else None,
                )
                for event in events
            ]
            try:
                last = await self._log.append(stream, envelopes, expected_position=position)
            except ConcurrencyConflict:
                history = await self._log.read_stream(stream)
                continue
            return Handled(position=last, first_position=first or last - len(events) + 1, events=events)
