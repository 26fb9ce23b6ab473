"""Waits for the first of several things. The worker has no code in common with the services, so this is its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def first_of(
    *work: Awaitable[Any],
) -> list[asyncio.Future[Any] | None]:
    """Wait until one of them has finished. Coroutines run until then and are cancelled; futures and tasks go on.

    Returns what has finished, in the order given, with `None` for what has not.
    """
    futures = [asyncio.ensure_future(one) for one in work]
    own = [future for future, one in zip(futures, work, strict=True) if future is not one]
    try:
        done, _ = await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in own:
            future.cancel()
        await asyncio.gather(*own, return_exceptions=True)
    return [future if future in done else None for future in futures]
