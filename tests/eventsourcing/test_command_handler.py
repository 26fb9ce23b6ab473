"""Commands are decided one after the other, however many writers there are."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from event_examples import EXAMPLES
from remote_claude.contracts import REGISTRY
from remote_claude.eventsourcing import CommandHandler, Decider, InMemoryEventLog, NewEvent

NOW = datetime(2026, 1, 2, tzinfo=UTC)
STREAM = "ev.users.org_1.org.org_1"
EVENT = EXAMPLES[0]


class Full(Exception):
    """The aggregate takes no more."""


def decide(command: int, state: int) -> list[Any]:
    if state + command > 3:
        raise Full
    return [EVENT] * command


COUNT = Decider[int, int](0, decide, lambda state, _: state + 1)


def handler(log: InMemoryEventLog) -> CommandHandler:
    return CommandHandler(log, lambda: NOW)


async def test_what_was_decided_is_recorded_with_its_envelope() -> None:
    log = InMemoryEventLog(REGISTRY)
    handled = await handler(log).handle(COUNT, STREAM, 2, subject="task_1")
    assert (handled.position, handled.first_position, len(handled.events)) == (2, 1, 2)
    [first, second] = await log.read_stream(STREAM)
    assert (first.subject, first.correlation_id) == ("task_1", "org_1")
    assert first.occurred_at == second.occurred_at == "2026-01-02T00:00:00.000000Z"
    assert first.event_id != second.event_id


async def test_a_command_without_events_records_nothing() -> None:
    log = InMemoryEventLog(REGISTRY)
    await handler(log).handle(COUNT, STREAM, 1)
    handled = await handler(log).handle(COUNT, STREAM, 0)
    assert (handled.position, handled.events) == (1, ())
    assert await log.last_position() == 1


async def test_a_refusal_records_nothing() -> None:
    log = InMemoryEventLog(REGISTRY)
    with pytest.raises(Full):
        await handler(log).handle(COUNT, STREAM, 4)
    assert await log.last_position() == 0


class BothRead(InMemoryEventLog):
    """Two readers see the same state before either of them writes."""

    def __init__(self) -> None:
        super().__init__(REGISTRY)
        self.barrier = asyncio.Barrier(2)
        self.conflicts = 0

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        if expected_position == 0:
            await self.barrier.wait()
        return await super().append(stream, events, expected_position=expected_position)


@pytest.mark.parametrize("new", [False, True])
async def test_of_two_at_the_same_time_the_second_is_decided_on_what_the_first_did(new: bool) -> None:
    log = BothRead()
    both = await asyncio.gather(
        handler(log).handle(COUNT, STREAM, 2, new=new),
        handler(log).handle(COUNT, STREAM, 2, new=new),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in both) == ["Full", "Handled"]
    assert await log.last_position() == 2
