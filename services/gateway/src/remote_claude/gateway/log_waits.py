"""How long a request waits for the log: while it takes what others send, no longer once it takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

LONGEST_S = 30.0
"""What a client waits for an answer at most."""


@asynccontextmanager
async def while_moving(
    position: Callable[[], int], wait_s: float, longest_s: float = LONGEST_S
) -> AsyncIterator[None]:
    """Raises `TimeoutError` once `position` has not risen for `wait_s` seconds, and after `longest_s` in any case.

    So a busy process refuses nothing that its log would take a moment later.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + longest_s
    seen = position()
    looking: asyncio.TimerHandle
    async with asyncio.timeout(wait_s) as limit:

        def look() -> None:
            nonlocal seen, looking
            if (now := position()) > seen:
                seen = now
                limit.reschedule(min(loop.time() + wait_s, end))
            looking = loop.call_later(wait_s / 2, look)

        looking = loop.call_later(wait_s / 2, look)
        try:
            yield
        finally:
            looking.cancel()
