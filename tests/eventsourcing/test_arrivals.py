"""What a view is given at a time."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from event_logs import JsonCodec
from remote_claude.eventsourcing.arrivals import Arrivals
from remote_claude.eventsourcing.events import RecordedEvent


def event(position: int) -> RecordedEvent:
    return RecordedEvent(
        position=position, stream="ev.a.o.t.1", event_id="", type="", version=1, occurred_at="", data=b"",
        codec=JsonCodec(),
    )  # fmt: skip


@pytest.mark.parametrize(("pace", "second"), [(0.0, [2]), (0.3, [2, 3])])
async def test_the_first_event_comes_at_once_and_those_that_follow_within_the_pace_together(
    pace: float, second: list[int]
) -> None:
    taken, more = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncGenerator[list[RecordedEvent], None]:
        yield [event(1)]
        await taken.wait()
        yield [event(2)]
        await more.wait()
        yield [event(3)]

    async with Arrivals(source(), 10, pace=pace) as arrivals:
        first = await arrivals.next()
        taken.set()
        asyncio.get_running_loop().call_later(0.01, more.set)
        assert [e.position for e in first or []] == [1]
        assert [e.position for e in await arrivals.next() or []] == second
