"""Why an attempt is to end before its worker is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

from remote_claude.concurrency.tasks import end, first_of
from remote_claude.contracts.runner import AttemptOutcome

T = TypeVar("T")

StopReason = Literal["cancelled", "timed_out", "output_too_large", "silent", "lost", "revoked"]

OUTCOME_OF_STOP: dict[StopReason, AttemptOutcome] = {
    "cancelled": "cancelled",
    "timed_out": "timed_out",
    "output_too_large": "failed",
    "silent": "failed",
    "lost": "lost",
    "revoked": "lost",
}


class Stopping:
    """Set at most once: the first reason counts."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self._event = asyncio.Event()

    def stop(self, reason: StopReason) -> None:
        if self.reason is None:
            self.reason = reason
            self._event.set()

    @property
    def event(self) -> asyncio.Event:
        """Set with the reason."""
        return self._event

    async def wait(self) -> None:
        await self._event.wait()

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of the work; None when the attempt is stopped first, and the work with it."""
        working = asyncio.create_task(work)
        try:
            await first_of(working, self.wait())
            return working.result() if working.done() else None
        finally:
            await end(working)
