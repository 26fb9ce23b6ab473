"""What is known of runners besides the log: when they renewed, and for which attempts."""

from __future__ import annotations

from collections.abc import Iterator

from remote_claude.contracts.leases import LeaseRequest
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.domain.tasks import Assigned, Running


class Leases:
    """Kept in memory only. Every `now` is in seconds of one monotonic clock, and never goes back.

    `lease` is how long a renewal holds, `limit` how long the scheduler waits before it calls something lost.
    """

    def __init__(self, lease: float, limit: float, now: float) -> None:
        self._lease, self._limit = lease, limit
        self._created = self._since = self._looked = now
        self._renewed = now
        """When any runner has renewed."""
        self._seen: dict[str, float] = {}
        self._paused_until: dict[str, float] = {}
        self._held: dict[tuple[str, int], float] = {}

    def begin(self, now: float) -> None:
        """Begin to count: every held attempt has a whole limit for its next renewal."""
        self._since = self._looked = now
        self._held.clear()

    def mark_seen(self, runner: str, now: float) -> None:
        """The runner is there, or was at that time."""
        self._seen[runner] = max(now, self._seen.get(runner, now))

    def renew(self, request: LeaseRequest, now: float) -> None:
        """The runner is there, and keeps these attempts."""
        self.mark_seen(request.runner, now)
        self._renewed = now
        for held in request.attempts:
            self._held[held.task, held.attempt] = now

    def without_renewals(self, state: SchedulerState, now: float) -> bool:
        """Whether no runner has renewed for a lease, though the log says that some are there."""
        if now - max(self._renewed, self._since) <= self._lease:
            return False
        return any(runner.joined and not runner.drained for runner in state.runners.values())

    def pause(self, runner: str, until: float) -> None:
        """Give the runner no work for a while."""
        self._paused_until[runner] = until

    def seen(self, runner: str, now: float) -> bool:
        """Whether the runner has renewed within a lease."""
        seen = self._seen.get(runner)
        return seen is not None and now - seen <= self._lease

    def available(self, runner: str, now: float) -> bool:
        """Whether the runner can be given work."""
        return self.seen(runner, now) and self._paused_until.get(runner, now) <= now

    def look(self, now: float) -> None:
        """To be called regularly. After half a lease without a call this process was suspended and received nothing: begin again."""
        if now - self._looked > self._lease / 2:
            self.begin(now)
        self._looked = now

    def expired(self, state: SchedulerState, now: float) -> Iterator[tuple[Assigned | Running, str]]:
        """The attempts that nobody keeps any more, and a code for why. To be called regularly."""
        self.look(now)
        kept: dict[tuple[str, int], float] = {}
        for attempt in state.occupying():
            key = attempt.submission.task, attempt.attempt
            kept[key] = self._held.get(key, now)
            if now - max(self._seen.get(attempt.runner, 0.0), self._since) > self._limit:
                yield attempt, "runner_lost"
            elif now - kept[key] > self._limit:
                yield attempt, "attempt_lost"
        self._held = kept

    def silent(self, state: SchedulerState, now: float, limit: float) -> list[str]:
        """Runners that hold nothing and have not renewed for `limit` seconds."""
        self._paused_until = {id: until for id, until in self._paused_until.items() if until > now}
        self._seen = {id: seen for id, seen in self._seen.items() if now - seen <= limit}
        if now - self._created <= limit:
            return []
        return [id for id, runner in state.runners.items() if not runner.held and id not in self._seen]
