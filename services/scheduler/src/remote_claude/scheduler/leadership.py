"""The election of one process that decides. It saves work only: the guard of every append keeps decisions safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import psycopg
import structlog
from psycopg import AsyncConnection

from remote_claude.eventsourcing.postgres.locks import holding

log = structlog.get_logger(__name__)

LOCK = "remote_claude.scheduler"
FIRST_RETRY, LAST_RETRY = 0.1, 2.0


class LeadershipLost(Exception):
    """Another process may lead by now: step down."""

    code = "leadership_lost"


Watch = Callable[[], Awaitable[None]]
"""Returns never; raises `LeadershipLost` when the term is over."""


class Election(Protocol):
    """How a process comes to lead. `problem` says why nobody can be elected, if that is so."""

    problem: str | None

    def term(self) -> AbstractAsyncContextManager[Watch]:
        """Wait until this process leads, and lead until the context ends."""


class Uncontested:
    """The election of an installation that is known to have one scheduler."""

    problem: str | None = None

    @asynccontextmanager
    async def term(self) -> AsyncGenerator[Watch, None]:
        yield _for_ever


class PostgresElection:
    """The process that holds an advisory lock leads; the others wait for it, and get it as soon as its holder's connection ends.

    `check_s`: how often, in seconds, the connection is tried; it has as long to answer. PostgreSQL ends one that was
    not tried for three times as long: its process is frozen, or its machine gone.
    """

    def __init__(self, dsn: str, *, check_s: float = 5.0) -> None:
        self._dsn, self._check_s = dsn, check_s
        self.problem: str | None = None

    @asynccontextmanager
    async def term(self) -> AsyncGenerator[Watch, None]:
        async with AsyncExitStack() as stack:
            connection = await self._elected(stack)
            yield lambda: self._watch(connection)

    async def _elected(self, stack: AsyncExitStack) -> AsyncConnection[Any]:
        """A connection that holds the lock until `stack` ends."""
        pause = FIRST_RETRY
        while True:
            try:
                return await self._locked(stack)
            except psycopg.OperationalError as error:
                self.problem = "PostgreSQL does not answer, so no leader can be elected"
                log.warning("no election without PostgreSQL", error=str(error), again_in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_RETRY)

    async def _locked(self, stack: AsyncExitStack) -> AsyncConnection[Any]:
        async with AsyncExitStack() as own:
            connection = await AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                application_name="remote-claude scheduler",
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
            )
            own.push_async_callback(connection.close)
            self.problem = None
            await own.enter_async_context(holding(connection, LOCK, silence=3 * self._check_s, wait=True))
            stack.push_async_exit(own.pop_all())
        return connection

    async def _watch(self, connection: AsyncConnection[Any]) -> None:
        try:
            while True:
                async for _ in connection.notifies(timeout=self._check_s):
                    pass  # nobody notifies: this returns when time is up, and raises when the connection ends
                async with asyncio.timeout(self._check_s):
                    await connection.execute("SELECT 1")
        except (psycopg.OperationalError, TimeoutError) as error:
            raise LeadershipLost(f"the connection that holds the lock is gone: {error}") from error


async def _for_ever() -> None:
    await asyncio.Event().wait()
