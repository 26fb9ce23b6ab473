"""Waits for the first of several things, and ends tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
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


async def first_of(*work: Awaitable[Any], timeout: float | None = None) -> list[asyncio.Future[Any] | None]:
    """Wait until one of them has finished, or `timeout` seconds have passed. Coroutines run until then and are
    cancelled; futures and tasks go on. Raises nothing that they raise.

    Returns what has finished, in the order given, with `None` for what has not.
    """
    futures = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*(future for future, one in zip(futures, work, strict=True) if future is not one))
    return [future if future in done else None for future in futures]
