"""A Restate service whose handler does nothing, and answers when it began, in Unix seconds."""

from __future__ import annotations

import time

import restate

noop = restate.Service("noop")


async def run(ctx: restate.Context, prompt: str) -> float:
    """The task that does nothing."""
    return time.time()


noop.handler()(run)
app = restate.app([noop])
