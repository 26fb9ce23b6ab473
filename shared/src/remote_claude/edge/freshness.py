"""How fresh an answer is: `as_of`, `?min_position=`, and 503 where the log is silent.

fresh = Freshness(runtime.tail, lambda: runtime.projectors[UsageView.name])

@api.get("/v1/usage", dependencies=[Depends(fresh)], responses=problems(503))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Query

from remote_claude.contracts.refusals import NotCaughtUp, Stale
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.tail import Tail

MAX_POSITION = 2**63 - 1
STALE_AFTER_S = 10.0
"""Reads are refused after so many seconds without an event or a heartbeat on the tail."""
POSITION_WAIT_S = 5.0
"""How long `?min_position=` waits."""
OWN_WRITES_WAIT_S = 0.5
"""How long a read without a position waits for what this process has answered before."""

MinPosition = Annotated[
    int | None,
    Query(
        ge=0,
        le=MAX_POSITION,
        description="Wait, for some seconds, until the answer reflects this position.",
    ),
]


class Freshness:
    """A dependency of every read of one view. `recorded` is the last position that this process has answered with."""

    def __init__(
        self,
        tail: Tail,
        projector: Callable[[], Projector],
        *,
        recorded: Callable[[], int] = lambda: 0,
        stale_after_s: float = STALE_AFTER_S,
        wait_s: float = POSITION_WAIT_S,
    ) -> None:
        self._tail, self._projector, self._recorded = tail, projector, recorded
        self._stale_after_s, self._wait_s = stale_after_s, wait_s

    async def __call__(self, min_position: MinPosition = None) -> None:
        """Refuse to answer out of the past. Raises `Stale`, `NotCaughtUp`."""
        self.check()
        if min_position is not None:
            await self.reach(min_position)
        else:
            await self._projector().wait_for(self._recorded(), OWN_WRITES_WAIT_S)

    def check(self) -> None:
        """Refuse to answer while the log sends no heartbeat. Raises `Stale`."""
        if self._tail.age > self._stale_after_s:
            raise Stale

    async def reach(self, position: int) -> None:
        """Wait until the view holds `position`. Raises `NotCaughtUp`."""
        if not await self._projector().wait_for(position, self._wait_s):
            raise NotCaughtUp(position, self.as_of)

    @property
    def as_of(self) -> int:
        """The position that the view holds."""
        return self._projector().position
