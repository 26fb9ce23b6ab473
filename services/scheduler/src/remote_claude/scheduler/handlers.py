"""From the folded state to guarded appends, one at a time for each organisation.

The shared `CommandHandler` has no place here: it loads one aggregate for each command, while the scheduler decides about all
organisations at once, on a state that it has folded already. A conflict is not retried: it says that another process leads.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from remote_claude.eventsourcing.events import Clock, stream_id
from remote_claude.eventsourcing.log import EventLog, LogUnavailable
from remote_claude.scheduler.domain.decide import Moment
from remote_claude.scheduler.domain.dispatch import decide_round
from remote_claude.scheduler.domain.draft import Draft
from remote_claude.scheduler.domain.known_leases import Leases
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.domain.tasks import Ended

log = structlog.get_logger(__name__)

FIRST_RETRY, LAST_RETRY = 0.05, 2.0

Monotonic = Callable[[], float]
"""Seconds on this machine's monotonic clock."""


@dataclass(slots=True)
class InFlight:
    """An organisation's append. It is over once the log has given it back, up to `position`."""

    runners: list[str]
    position: int | None = None


class Leader:
    """One term. Nothing that it decides changes the state: the log does, when it gives the decision back."""

    def __init__(
        self,
        event_log: EventLog,
        state: SchedulerState,
        leases: Leases,
        clock: Clock,
        lease_s: int,
        decided: Counter[str],
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        """`decided` counts what has been recorded, by type of event."""
        self._log, self._state, self._leases, self._clock = event_log, state, leases, clock
        self._lease_s, self._decided, self._monotonic = lease_s, decided, monotonic
        self._wake = asyncio.Event()
        self._wake.set()
        self._busy: dict[str, InFlight] = {}
        self._landed: list[str] = []
        self._promised: Counter[str] = Counter()
        self._expired: dict[str, list[Ended]] = {}

    async def run(self) -> None:
        """Decide whenever there is something to decide. Raises `ConcurrencyConflict`, in a group, when another leads."""
        async with asyncio.TaskGroup() as appends:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._decide(appends)

    def wake(self) -> None:
        """Something has changed: look again, once for all that changes until then."""
        self._wake.set()

    def folded(self) -> None:
        """The state has moved on."""
        self._release()
        self.wake()

    def expire(self, attempts: Iterable[Ended]) -> None:
        """Attempts that have to end because nobody keeps them or because their time is long up."""
        for ended in attempts:
            self._expired.setdefault(ended.submission.org, []).append(ended)
        if self._expired:
            self.wake()

    def _decide(self, appends: asyncio.TaskGroup) -> None:
        state, expired = self._state, self._expired
        if not (state.due or state.rotation or expired):
            return
        self._expired = {}
        moment = Moment(now=self._clock(), position=state.position)
        drafts = decide_round(state, moment, self._free(), self._lease_s, busy=self._busy, expired=expired)
        for org, draft in drafts.items():
            self._busy[org] = InFlight(draft.runners)
            self._promised.update(draft.runners)
            appends.create_task(self._append(draft))

    def _free(self) -> dict[str, int]:
        now = self._monotonic()
        return {
            id: runner.free - self._promised[id]
            for id, runner in self._state.runners.items()
            if runner.joined and self._leases.available(id, now)
        }

    async def _append(self, draft: Draft) -> None:
        org = draft.organisation.id
        stream, pause = stream_id("scheduler", org, "org", org), FIRST_RETRY
        while True:
            try:
                position = await self._log.append(stream, draft.events, expected_position=draft.expected)
                break
            except LogUnavailable as error:  # the same bytes again: they may have landed
                log.warning(
                    "a decision has not been acknowledged", org=org, again_in_seconds=pause, detail=str(error)
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_RETRY)
        self._decided.update(new.event.type for new in draft.events)
        self._busy[org].position = position
        self._landed.append(org)
        self._release()

    def _release(self) -> None:
        """Let organisations be decided about again whose last append has come back."""
        waiting = []
        for org in self._landed:
            in_flight = self._busy[org]
            assert in_flight.position is not None
            if in_flight.position > self._state.position:
                waiting.append(org)
                continue
            del self._busy[org]
            for runner in in_flight.runners:
                self._promised[runner] -= 1
                if not self._promised[runner]:
                    del self._promised[runner]
            self.wake()
        self._landed = waiting
