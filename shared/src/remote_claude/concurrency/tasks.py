"""Ends tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_S = 1.0


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever they raise. Those that take long to tidy up are
    cancelled in that too.

    Cancelling once is not enough: before Python 3.12 asyncio's `wait_for`, by which nats-py waits for every answer,
    loses a cancellation that comes together with it.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)  # else asyncio complains of what they raise
