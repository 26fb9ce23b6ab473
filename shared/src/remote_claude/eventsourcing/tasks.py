"""Ends tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_S = 1.0


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it has ended, whatever it raises.

    Cancelling once is not enough: before Python 3.12 asyncio's `wait_for`, by which nats-py waits for every answer,
    loses a cancellation that comes together with it.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=AGAIN_S)
