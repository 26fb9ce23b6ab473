"""The terms in which this process leads: it decides, and looks after leases and deadlines, until another one may lead."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import structlog

from remote_claude.concurrency import tasks
from remote_claude.eventsourcing.events import Clock
from remote_claude.eventsourcing.log import ConcurrencyConflict, EventLog
from remote_claude.scheduler.consumers import LogFold
from remote_claude.scheduler.domain.known_leases import Leases
from remote_claude.scheduler.domain.tasks import Ended, end
from remote_claude.scheduler.handlers import Leader, Monotonic
from remote_claude.scheduler.leadership import Election, LeadershipLost, Watch
from remote_claude.scheduler.settings import SchedulerSettings

log = structlog.get_logger(__name__)

AFTER_A_TERM_S = 0.2
"""How long a process that has stood down leaves the lock to the others."""
LEADS_AGAIN_S = 2.0
"""A process that leads again so soon after it stood down was not replaced in between."""


class NoRenewals(LeadershipLost):
    """No runner renews its lease at this process, though the log says that there are runners."""

    code = "no_runner_seen"


class LeaderTerms:
    """`leader` is set during a term. `decided` counts the events that this process has recorded, by type."""

    def __init__(
        self,
        event_log: EventLog,
        fold: LogFold,
        leases: Leases,
        clock: Clock,
        settings: SchedulerSettings,
        election: Election,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._log, self._fold, self._leases, self._clock = event_log, fold, leases, clock
        self._settings, self._election, self._monotonic = settings, election, monotonic
        self._yielded = float("-inf")
        """When this process last stood down because no runner renewed."""
        self.leader: Leader | None = None
        self.decided: Counter[str] = Counter()

    @property
    def problem(self) -> str | None:
        """Why no leader can be elected, if that is so."""
        return self._election.problem

    async def run(self) -> None:
        """Lead whenever this process is elected."""
        while True:
            async with self._election.term() as watch:
                term = asyncio.create_task(self._term(watch))
                try:  # beside it, since a group that fails as it is cancelled keeps the failure only
                    await asyncio.wait((term,))
                    term.result()
                finally:
                    await tasks.end(term)
            await asyncio.sleep(AFTER_A_TERM_S)

    async def _term(self, watch: Watch) -> None:
        """Lead until another process may."""
        try:
            async with asyncio.TaskGroup() as term:
                term.create_task(_until_lost(watch))
                await self._fold.reached_end()
                if (
                    self._monotonic() - self._yielded > LEADS_AGAIN_S
                ):  # otherwise no other process wanted to lead
                    self._leases.begin(self._monotonic())
                self.leader = leader = Leader(
                    self._log,
                    self._fold.state,
                    self._leases,
                    self._clock,
                    self._settings.lease_s,
                    self.decided,
                    self._monotonic,
                )
                log.info("leading", position=self._fold.state.position)
                term.create_task(leader.run())
                term.create_task(self._look_after(leader))
        except* (ConcurrencyConflict, LeadershipLost) as over:
            log.warning("standing down", reasons=[str(error) for error in _leaves(over)])
        finally:
            self.leader = None

    async def _look_after(self, leader: Leader) -> None:
        """Find attempts that no runner keeps, attempts past their deadline, and runners that are gone for good."""
        settings, leases, state = self._settings, self._leases, self._fold.state
        while True:
            await asyncio.sleep(min(settings.tick_s, settings.lease_s / 4))
            now = self._monotonic()
            leases.look(now)
            if leases.without_renewals(state, now) and now - self._yielded > settings.lease_s:
                self._yielded = now
                raise NoRenewals(
                    f"no runner has renewed its lease here for {settings.lease_s} s, though the log has "
                    "runners: another scheduler may receive the renewals, or this one uses another broker account than they do"
                )
            leader.expire(
                end(attempt, "lost", attempt.assigned, reason=reason)
                for attempt, reason in leases.expired(state, now)
            )
            leader.expire(self._overdue())
            for runner in leases.silent(state, now, settings.forget_runner_s):
                state.forget(runner)
            leader.wake()

    def _overdue(self) -> Iterator[Ended]:
        patience = timedelta(seconds=self._settings.lease_s + self._settings.grace_s)
        ended_before = self._clock() - patience
        for attempt in self._fold.state.occupying():
            if attempt.deadline < ended_before:
                yield end(attempt, "timed_out", attempt.assigned)


async def _until_lost(watch: Watch) -> None:
    await watch()


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
