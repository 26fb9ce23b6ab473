"""Keeps the archive: copies what the tail brings into PostgreSQL, in whichever process holds the lock."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from remote_claude.eventsourcing.arrivals import Arrivals
from remote_claude.eventsourcing.errors import CheckpointMoved
from remote_claude.eventsourcing.log import EventLogError, LogUnavailable, PositionAhead
from remote_claude.eventsourcing.positions import Reached
from remote_claude.eventsourcing.postgres.locks import holding
from remote_claude.eventsourcing.postgres.projector import ProjectorState as State
from remote_claude.eventsourcing.postgres.schemas import SILENCE_S, Pool, connect
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.archive import signer, store
from remote_claude.runtime.archive.errors import BrokerLostTail, HeadsOfAnotherKey
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.archive.store import Head

FIRST_RETRY, LAST_RETRY = 0.1, 5.0
PACE = 0.1
"""Seconds from one transaction to the next: nobody waits for the archive, and many events share one."""
LOCK = "log/archive"

_log = structlog.get_logger(__name__)


class Copier:
    """Archives the log for as long as it runs; in all processes but one it follows the archive's position.

    `heads` gets each new UTC day's first head. `batch_size` events at most are one transaction; `standby_interval`
    is in seconds how often a process that does not hold the lock looks again, `silence` after how long one that
    holds it and has gone silent loses it.
    """

    def __init__(
        self,
        pool: Pool,
        tail: Tail,
        heads: Heads | None = None,
        *,
        batch_size: int = 2000,
        standby_interval: float = 1.0,
        silence: float = SILENCE_S,
    ) -> None:
        self.state = State.STARTING
        self.reason: str | None = None
        self._pool, self._tail, self._heads = pool, tail, heads
        self._batch_size, self._standby_interval = batch_size, standby_interval
        self._silence = silence
        self._head = Head(0, b"")
        self._reached = Reached()
        self._may_sign = False

    @property
    def position(self) -> int:
        """The archive holds everything up to here."""
        return self._head.position

    @property
    def lag(self) -> int:
        """How many positions it is behind what has arrived in this process."""
        return max(0, self._tail.position - self.position)

    async def wait_for(self, position: int, timeout: float) -> bool:
        """Wait until the archive holds `position`, at most `timeout` seconds; False when it does not."""
        return await self._reached.wait_for(position, timeout)

    async def run(self) -> None:
        """Keep the archive until cancelled. Tries again for ever when PostgreSQL or the log is gone.

        Raises `BrokerLostTail` when the log ends before the archive does.
        """
        retry = FIRST_RETRY
        while True:
            before = self.position
            try:
                async with connect(self._pool, store.SCHEMA) as connection:
                    await store.create(connection)
                    await self._keep(connection)
            except PositionAhead as error:
                self._change(State.STOPPED, str(error))
                raise BrokerLostTail("the archive goes", error.after, error.last) from error
            except CheckpointMoved:
                continue
            except (psycopg.Error, EventLogError, OSError) as error:
                retry = FIRST_RETRY if self.position != before else retry
                self._change(State.RETRYING, f"{type(error).__name__}: {error}")
                await asyncio.sleep(retry)
                retry = min(2 * retry, LAST_RETRY)

    async def _keep(self, connection: AsyncConnection[Any]) -> None:
        """Archive while this process holds the lock, otherwise follow the archive, until something fails."""
        while True:
            async with holding(connection, LOCK, silence=self._silence) as held:
                if held:
                    await self._copy(connection)
            self._move(await store.read_head(connection) or self._head)
            self._change(State.STANDBY)
            await asyncio.sleep(self._standby_interval)

    async def _copy(self, connection: AsyncConnection[Any]) -> None:
        self._move(await store.read_head(connection) or Head(0, b""))
        self._change(State.LIVE)
        async with Arrivals(
            self._tail.subscribe(after=self.position), self._batch_size, pace=PACE
        ) as arrivals:
            while True:
                events = await arrivals.next(self._silence / 3)
                if events is None:
                    raise LogUnavailable("the tail was closed")
                if events:
                    self._move(await store.write(connection, self._head, events))
                else:
                    await connection.execute("SELECT 1")  # so as not to be taken for dead
                await self._sign(connection)

    def _move(self, head: Head) -> None:
        self._head = head
        self._reached.reach(head.position)

    async def _sign(self, connection: AsyncConnection[Any]) -> None:
        if self._heads is None or not self.position:
            return
        try:
            if not self._may_sign:
                await signer.claim(connection, self._heads)
                self._may_sign = True
            await self._heads.daily(self._head)
        except HeadsOfAnotherKey as error:  # shown in the status too
            self._change(State.LIVE, str(error))
        except OSError as error:  # shown in the status; the archive itself goes on
            self._change(State.LIVE, f"the day's head could not be written: {error}")
        else:
            self._change(State.LIVE)

    def _change(self, state: State, reason: str | None = None) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            level = _log.info if reason is None else _log.warning
            level("archive", state=state.value, reason=reason, position=self.position)
