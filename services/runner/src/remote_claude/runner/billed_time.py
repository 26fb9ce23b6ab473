"""From a wall clock and an allocation to what is billed. Nothing that a sandbox reports counts here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from remote_claude.contracts.runner import Cumulative
from remote_claude.contracts.scheduler import Limits
from remote_claude.eventsourcing.events import Clock, timestamp
from remote_claude.runner.domain.attempt import Measured, Sample, Start
from remote_claude.runner.handlers import AttemptLog
from remote_claude.runner.model_proxy import ModelUsage

NOTHING = ModelUsage()


def used(
    limits: Limits, wall_ms: int, *, model: Cumulative = NOTHING.cumulative, egress_bytes: int = 0
) -> Cumulative:
    """Allocation times wall clock, whole thousandths of vCPU-seconds and GiB-seconds, rounded down; and the model's use."""
    return model.model_copy(
        update={
            "vcpu_ms": wall_ms * limits.vcpu_millis // 1000,
            "gib_ms": wall_ms * limits.memory_mib // 1024,
            "egress_bytes": egress_bytes,
        }
    )


class Window:
    """The time that an attempt is measured over. It never goes back, whatever the clock does."""

    def __init__(self, clock: Clock) -> None:
        self._began = clock()
        self._loop = asyncio.get_running_loop()
        self._offset = self._loop.time()

    def measured(self, cumulative: Cumulative, model: ModelUsage = NOTHING) -> Measured:
        """What was used from the beginning until now."""
        until = self._began + timedelta(seconds=self._loop.time() - self._offset)
        return Measured(
            cumulative=cumulative,
            measured_from=timestamp(self._began),
            measured_to=timestamp(until),
            open_calls=model.open_calls,
        )


class UsageRecorder:
    """Puts what an attempt uses on record. Those who ask while an append is in progress share the next one."""

    def __init__(self, attempt_log: AttemptLog, measure: Callable[[], Awaitable[Measured]]) -> None:
        self._attempt_log, self._measure = attempt_log, measure
        self._turn = asyncio.Lock()
        self._requested = self._recorded = 0

    async def record(self) -> None:
        """Returns once everything that was used before this call is on record. Raises as `AttemptLog.record` does."""
        self._requested += 1
        number = self._requested
        async with self._turn:
            if self._recorded >= number:
                return
            covers = self._requested
            # A sandbox can be faster than the event that says it has started.
            await self._attempt_log.record(Start(), Sample(await self._measure()))
            self._recorded = covers
