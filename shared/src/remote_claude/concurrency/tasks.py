"""Waits for the first of several things, and ends tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
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
    await asyncio.gather(*tasks, return_exceptions=True)  # otherwise asyncio logs what they raise


async def first_of(*work: asyncio.Future[Any] | Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them has finished. Coroutines run until then; futures and tasks go on."""
    own = [asyncio.create_task(one) for one in work if isinstance(one, Coroutine)]
    given = [one for one in work if isinstance(one, asyncio.Future)]
    try:
        await asyncio.wait((*own, *given), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*own)
