"""What is known of runners besides the log: when they were heard, and what they say they keep."""

from __future__ import annotations

from collections.abc import Iterator

from remote_claude.contracts.leases import LeaseRequest
from remote_claude.scheduler.domain.state import State
from remote_claude.scheduler.domain.tasks import Assigned, Running


class Leases:
    """Kept in memory only. Every `now` is in seconds of one monotonic clock, and never goes back.

    `lease` is how long a renewal holds, `limit` how long the scheduler waits before it calls something lost.
    """

    def __init__(self, lease: float, limit: float, now: float) -> None:
        self._lease, self._limit = lease, limit
        self._born = self._since = self._looked = now
        self._heard: dict[str, float] = {}
        self._resting: dict[str, float] = {}
        self._kept: dict[tuple[str, int], float] = {}

    def begin(self, now: float) -> None:
        """From now on it counts: whatever is held has a whole limit to be heard of."""
        self._since = self._looked = now
        self._kept.clear()

    def hear(self, runner: str, now: float) -> None:
        """The runner is there, or was at that time."""
        self._heard[runner] = max(now, self._heard.get(runner, now))

    def renew(self, request: LeaseRequest, now: float) -> None:
        """The runner is there, and keeps these attempts."""
        self.hear(request.runner, now)
        for held in request.attempts:
            self._kept[held.task, held.attempt] = now

    def rest(self, runner: str, until: float) -> None:
        """Give the runner no work for a while."""
        self._resting[runner] = until

    def present(self, runner: str, now: float) -> bool:
        """Whether the runner can be given work."""
        heard = self._heard.get(runner)
        return heard is not None and now - heard <= self._lease and self._resting.get(runner, now) <= now

    def expired(self, state: State, now: float) -> Iterator[tuple[Assigned | Running, str]]:
        """The attempts that nobody keeps any more, and a code for why. To be asked regularly.

        When nobody has asked for half a lease, this process has been asleep and could not hear: it begins anew.
        """
        if now - self._looked > self._lease / 2:
            self.begin(now)
        self._looked = now
        kept: dict[tuple[str, int], float] = {}
        for attempt in state.occupying():
            key = attempt.asked.task, attempt.attempt
            kept[key] = self._kept.get(key, now)
            if now - max(self._heard.get(attempt.runner, 0.0), self._since) > self._limit:
                yield attempt, "runner_lost"
            elif now - kept[key] > self._limit:
                yield attempt, "attempt_lost"
        self._kept = kept

    def silent(self, state: State, now: float, limit: float) -> list[str]:
        """Runners that hold nothing and were not heard of for `limit` seconds."""
        self._resting = {id: until for id, until in self._resting.items() if until > now}
        self._heard = {id: heard for id, heard in self._heard.items() if now - heard <= limit}
        if now - self._born <= limit:
            return []
        return [id for id, runner in state.runners.items() if not runner.held and id not in self._heard]
