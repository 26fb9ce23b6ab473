"""How long a runner may go on without a scheduler, and its workers without the runner."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from remote_claude.concurrency.tasks import first_of
from remote_claude.contracts.leases import HeldAttempt

RENEWALS_PER_LEASE = 5


class Lease:
    """The runner's own. Held from when the request was sent that renewed it, on this machine's monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.interval = seconds / RENEWALS_PER_LEASE
        self._renewed_at = asyncio.get_running_loop().time()
        self._renewed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._named: frozenset[HeldAttempt] = frozenset()

    def renew(self, at: float, named: Iterable[HeldAttempt] = ()) -> None:
        """It was renewed by a request that was sent at that time of the loop, and named these attempts."""
        self._renewed_at, self._named = at, frozenset(named)
        self._renewed.set()
        self._renewed = asyncio.Event()

    def want(self) -> None:
        """There is an attempt that no request has named: let the next one not wait for its time."""
        self._wanted.set()

    async def due(self, at: float) -> None:
        """Wait for that time of the loop, or until a renewal is wanted."""
        try:
            async with asyncio.timeout_at(at):
                await self._wanted.wait()
        except TimeoutError:
            pass
        self._wanted.clear()

    @property
    def named(self) -> frozenset[HeldAttempt]:
        """The attempts that the last answered request named: only these may have been launched."""
        return self._named

    def covers(self, attempt: HeldAttempt) -> bool:
        """Whether the attempt can't be another's: the scheduler has been asked for it, and the lease is not over.

        That the log assigns it is not enough: a runner may read late, and be renewed meanwhile for what else it holds.
        """
        return self.left > 0 and attempt in self._named

    async def cover(self, attempt: HeldAttempt, unless: asyncio.Event) -> None:
        """Wait until it covers the attempt, or for the event."""
        while not (unless.is_set() or self.covers(attempt)):
            await first_of(self._renewed.wait(), unless.wait())

    @property
    def left(self) -> float:
        """Seconds; below zero once it is over."""
        return self._renewed_at + self.seconds - asyncio.get_running_loop().time()

    @property
    def to_pass_on(self) -> float:
        """How long a worker may go on from now, even if this runner dies: not longer than the runner itself,
        which needs an interval to notice that its lease is over. The scheduler waits longer than both."""
        return min(self.seconds, self.left + self.interval)
