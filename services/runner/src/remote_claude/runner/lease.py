"""How long a runner may go on without a scheduler, and its workers without the runner."""

from __future__ import annotations

import asyncio

RENEWALS_PER_LEASE = 5


class Lease:
    """The runner's own. Held from when the request was sent that renewed it, on this machine's monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.interval = seconds / RENEWALS_PER_LEASE
        self._renewed_at = asyncio.get_running_loop().time()

    def renew(self, at: float) -> None:
        """It was renewed by a request that was sent at that time of the loop."""
        self._renewed_at = at

    @property
    def left(self) -> float:
        """Seconds; below zero once it is over."""
        return self._renewed_at + self.seconds - asyncio.get_running_loop().time()

    @property
    def to_pass_on(self) -> float:
        """How long a worker may go on from now, whatever becomes of this runner: not longer than the runner itself,
        which needs an interval to notice that its lease is over. The scheduler waits longer than both."""
        return min(self.seconds, self.left + self.interval)
