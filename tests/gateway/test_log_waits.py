"""How long a request waits for a log that is busy, and for one that has stopped."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from remote_claude.gateway.log_waits import while_moving

LONG = 80


@asynccontextmanager
async def moving(every_s: float) -> AsyncIterator[tuple[Callable[[], int], asyncio.Event]]:
    """A log that takes what others send: its position, and whether that is `LONG`."""
    positions, long = [0], asyncio.Event()

    async def move() -> None:
        while True:
            await asyncio.sleep(every_s)
            positions[0] += 1
            if positions[0] == LONG:
                long.set()

    mover = asyncio.create_task(move())
    try:
        yield lambda: positions[0], long
    finally:
        mover.cancel()


async def test_a_request_waits_for_a_busy_log_for_longer_than_for_one_that_has_stopped() -> None:
    async with moving(0.01) as (position, long), while_moving(position, 0.5, 20):
        await long.wait()  # longer than it would wait for one that has stopped


async def test_a_request_is_refused_once_the_log_has_stopped() -> None:
    with pytest.raises(TimeoutError):
        async with while_moving(lambda: 0, 0.01, 20):
            await asyncio.Event().wait()


async def test_no_request_waits_for_ever() -> None:
    async with moving(0.01) as (position, _):
        with pytest.raises(TimeoutError):
            async with while_moving(position, 0.5, 0.6):
                await asyncio.Event().wait()
