"""The scheduler of one process: it folds the log for as long as it runs, and decides while it leads."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from remote_claude.eventsourcing.events import Clock
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.scheduler.broker_requests import Requests
from remote_claude.scheduler.consumers import LogFold
from remote_claude.scheduler.domain.known_leases import Leases
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.domain.waiting import too_large
from remote_claude.scheduler.handlers import Leader, Monotonic
from remote_claude.scheduler.leadership import Election
from remote_claude.scheduler.projections.snapshots import Snapshots
from remote_claude.scheduler.settings import SchedulerSettings
from remote_claude.scheduler.terms import LeaderTerms


class Scheduler:
    """Its parts: the fold of the log, the terms in which it leads, the requests that it answers."""

    def __init__(
        self,
        event_log: EventLog,
        tail: Tail,
        clock: Clock,
        settings: SchedulerSettings,
        election: Election,
        snapshots: Snapshots,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self.leases = Leases(settings.lease_s, settings.lease_s + settings.grace_s, monotonic())
        self.fold = LogFold(event_log, tail, clock, settings, snapshots, self.leases, monotonic)
        self.terms = LeaderTerms(event_log, self.fold, self.leases, clock, settings, election, monotonic)
        self.requests = Requests(self.fold, self.terms, self.leases, monotonic)

    async def run(self) -> None:
        """Read up to the log's end, then stand by or lead; never ends by itself."""
        await self.fold.restore()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.fold.follow(self._folded))
            group.create_task(self.terms.run())
            group.create_task(self.fold.save_regularly(lambda: self.leader is not None))

    async def stop(self) -> None:
        """Store a snapshot, so that the next start is short."""
        await self.fold.save()

    @property
    def state(self) -> SchedulerState:
        """The state as of the last event that was read."""
        return self.fold.state

    @property
    def leader(self) -> Leader | None:
        """What decides, while this process leads."""
        return self.terms.leader

    @property
    def decided(self) -> Counter[str]:
        """How many events this process has recorded, by type."""
        return self.terms.decided

    def ready(self) -> str | None:
        """Why nothing can be decided, if that is so."""
        if (why := self.fold.unready()) is not None:
            return why
        return self.terms.problem if self.leader is None else None

    def status(self) -> dict[str, Any]:
        """What an operator wants to see."""
        organisations, runners = self.state.organisations.values(), self.state.runners.values()
        now = self._monotonic()
        return {
            "leader": self.leader is not None,
            "position": self.state.position,
            "queued": sum(len(o.waiting) for o in organisations),
            "running": sum(o.attempts for o in organisations),
            "runners": sum(r.joined and self.leases.available(r.id, now) for r in runners),
            "unreadable_events": self.fold.unreadable,
            "plans_without_runner": [
                {"plan": plan, "detail": detail} for plan, detail in too_large(self.state)
            ],
        }

    def _folded(self) -> None:
        if self.leader is not None:
            self.leader.folded()
