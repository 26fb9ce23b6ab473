"""Performs the side effects in an outbox, and records their outcomes as events.

Only a running service has an `OutboxWorker`, and only the worker opens the handle to the outside, while it works: a
fold, a rebuild or a replay has none. At least once, under a key that the receiver can tell repetitions by; exactly one
outcome, because it is one event id under one guard. The log says what is settled, not PostgreSQL: before each attempt
the worker looks into the outcome's aggregate, so that neither an old copy of the database nor a view that is still being
filled, nor a parked outcome, does anything twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

import psycopg
import structlog
from psycopg.sql import SQL, Identifier

from remote_claude.eventsourcing.events import Clock, NewEvent, parse_timestamp, timestamp
from remote_claude.eventsourcing.log import (
    AppendRefused,
    ConcurrencyConflict,
    EventLog,
    EventLogError,
    EventTooLarge,
    NotPermitted,
)
from remote_claude.eventsourcing.postgres.outbox_table import OutboxRow
from remote_claude.eventsourcing.postgres.projector import Projector, ProjectorState
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import reading
from remote_claude.eventsourcing.traces import of_event
from remote_claude.eventsourcing.views import View

FIRST_PAUSE, LAST_PAUSE = 1.0, 300.0
POLL_S = 1.0  # at the latest, when the view does not move or is another process's
REST_S = 0.1  # at the earliest, however fast the view moves
IN_ALL, IN_A_LANE = 32, 4  # at a time; one in a lane whose last attempt failed

# The lanes that have something to do, by one look into the index each, however long they are.
LANES = """
WITH RECURSIVE lanes AS (
    (SELECT lane FROM {table} ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT lane FROM {table} WHERE lane > lanes.lane ORDER BY lane LIMIT 1)
    FROM lanes WHERE lanes.lane IS NOT NULL
)
SELECT lane FROM lanes WHERE lane IS NOT NULL
"""
ROWS = "SELECT * FROM {table} WHERE lane = %s ORDER BY position, key LIMIT %s"
COUNT = "SELECT count(*) AS pending FROM {table}"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """It is done; `result` is what the outcome's event says of it."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now. `after` seconds, or the pause that grows with every failure; `reason` is stable and goes into `Park`."""

    reason: str
    result: Any = None
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Park:
    """Never: given up, for a stable `reason`."""

    reason: str
    result: Any = None


Verdict = Done | Retry | Park


class Effects(Protocol):
    """Performs an effect, and makes the event of its outcome."""

    async def perform(self, row: OutboxRow) -> Verdict:
        """Do it, under `row.key`. It may have been done before. What it raises is a `Retry` with the reason `error`."""

    def outcome(self, row: OutboxRow, verdict: Done | Park) -> Any:
        """The event that settles it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """What a service says of the side effects of one of its views.

    `open` makes the handle. An effect that fails more than `give_up_s` seconds after its cause is given up.
    """

    view: View
    table: type[OutboxRow]
    open: Callable[[], AbstractAsyncContextManager[Effects]]
    give_up_s: float


class OutboxWorker:
    """Works one outbox in the process that applies its view. `run()` until cancelled.

    Two that both believe to be that process do harm to nobody: a receiver gets two requests under one key.
    """

    def __init__(self, outbox: Outbox, pool: Pool, log: EventLog, projector: Projector, clock: Clock) -> None:
        self.outbox = outbox
        self.pending: int | None = None
        """How many effects are not settled; None where another process works."""
        self.attempts: Counter[str] = Counter()
        """By outcome: `done`, `retry`, `park`."""
        self.refused: set[str] = set()
        """Keys of what is settled here and will have no outcome: the log refuses it for good, or it can't be made."""
        self.lane_failures = 0
        """How often a fault of ours has held up a lane."""
        self._pool, self._eventlog, self._projector, self._clock = pool, log, projector, clock
        self._began = clock()
        self._slots = asyncio.Semaphore(IN_ALL)
        self._served: set[str] = set()
        self._settled: dict[str, set[str]] = {}
        """By lane: what the log has an outcome of and the view does not know yet, or has parked."""

    async def run(self) -> None:
        """Never ends by itself. Goes on when PostgreSQL or the log is gone: what is under way comes to its end."""
        await self._until_ours()
        async with self.outbox.open() as effects, asyncio.TaskGroup() as lanes:
            while True:
                try:
                    while self._ours:
                        await self._look(effects, lanes)
                    self.pending = None
                    await self._until_ours()
                except (psycopg.Error, EventLogError, OSError) as error:
                    _log.warning("an outbox waits", view=self.outbox.view.name, error=repr(error))
                    await asyncio.sleep(POLL_S)

    async def _look(self, effects: Effects, lanes: asyncio.TaskGroup) -> None:
        """See that every lane is served, and wait until the view has moved."""
        position = self._projector.position
        found = await self._lanes()
        for lane in self._settled.keys() - self._served - set(found):
            del self._settled[lane]
        for lane in found:
            if lane not in self._served:
                self._served.add(lane)
                lanes.create_task(self._serve(lane, effects))
        await asyncio.sleep(REST_S)
        await self._projector.wait_for(position + 1, POLL_S)

    @property
    def _ours(self) -> bool:
        return self._projector.state is ProjectorState.LIVE

    async def _until_ours(self) -> None:
        """Until the view is kept here, and holds what the log holds now: most of what was settled is gone by then."""
        while not self._ours:
            await self._projector.wait_for(self._projector.position + 1, POLL_S)
        while True:
            try:
                end = await self._eventlog.last_position()
                break
            except EventLogError as error:
                _log.warning("an outbox waits", view=self.outbox.view.name, error=repr(error))
                await asyncio.sleep(POLL_S)
        while self._ours and not await self._projector.wait_for(end, POLL_S):
            pass

    async def _serve(self, lane: str, effects: Effects) -> None:
        """Do what is to be done in a lane, oldest first, until nothing is left."""
        failures, lost = 0, None
        settled = self._settled.setdefault(lane, set())
        try:
            while self._ours and (rows := await self._rows(lane, settled, 1 if failures else IN_A_LANE)):
                attempts = (self._attempt(row, effects, lost) for row in rows)
                verdicts = await asyncio.gather(*attempts, return_exceptions=True)
                retries = [verdict for verdict in verdicts if isinstance(verdict, Retry)]
                settled |= {
                    row.key for row, v in zip(rows, verdicts, strict=True) if isinstance(v, Done | Park)
                }
                for error in verdicts:  # the others have come to their end all the same
                    if isinstance(error, BaseException):
                        raise error
                lost = next((verdict for verdict in verdicts if isinstance(verdict, Park)), None)
                failures = failures + 1 if retries else 0
                if retries:
                    pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 30), LAST_PAUSE)
                    await asyncio.sleep(max(pause if r.after is None else r.after for r in retries))
        except (psycopg.Error, EventLogError, OSError) as error:
            _log.warning("an outbox waits", view=self.outbox.view.name, lane=lane, error=repr(error))
            await asyncio.sleep(POLL_S)
        except Exception:  # the other lanes go on
            self.lane_failures += 1
            _log.exception("a lane of an outbox failed", view=self.outbox.view.name, lane=lane)
            await asyncio.sleep(LAST_PAUSE)
        finally:
            self._served.discard(lane)
            if not settled:
                self._settled.pop(lane, None)

    async def _attempt(self, row: OutboxRow, effects: Effects, lost: Park | None) -> Verdict:
        """One attempt, and its outcome in the log unless it is to be tried again.

        `lost` is what became of the lane's last one: what is late as well shares its fate, and costs no attempt.
        """
        if row.key in self.refused:  # the view was rebuilt
            return Done()
        async with self._slots:
            position = await self._guard(row)
            if position is None:
                return Done()
            late = self._clock() > self._due(row)
            if late and lost is not None:
                verdict: Verdict = lost
            else:
                verdict = await self._perform(row, effects, last=late)
            if isinstance(verdict, Retry):
                _log.info("an effect is tried again", view=self.outbox.view.name, key=row.key, reason=verdict.reason)  # fmt: skip
            else:
                try:
                    await self._record(row, effects.outcome(row, verdict), position)
                except Exception:  # another try changes nothing, and would do again what has been done
                    self.refused.add(row.key)
                    _log.exception("an outcome can't be recorded", view=self.outbox.view.name, key=row.key)
            return verdict

    async def _perform(self, row: OutboxRow, effects: Effects, *, last: bool) -> Verdict:
        try:
            verdict = await effects.perform(row)
        except Exception:
            _log.exception("an effect failed", view=self.outbox.view.name, key=row.key)
            verdict = Retry("error")
        if last and isinstance(verdict, Retry):
            verdict = Park(verdict.reason, verdict.result)
        self.attempts[type(verdict).__name__.lower()] += 1
        return verdict

    def _due(self, row: OutboxRow) -> datetime:
        """After this, a failure is the last one. Counted from the start of a process that came later."""
        return max(parse_timestamp(row.occurred_at), self._began) + timedelta(seconds=self.outbox.give_up_s)

    async def _guard(self, row: OutboxRow) -> int | None:
        """The position that the outcome's append has to expect; None when the outcome is in the log."""
        history = await self._eventlog.read_stream(row.stream)
        if any(recorded.event_id == row.key for recorded in history):
            return None
        return history[-1].position if history else 0

    async def _record(self, row: OutboxRow, event: Any, position: int) -> None:
        """Append the outcome, however long it takes: what has been done is not done again for want of an answer.

        Waits for a permission too: without it no other outcome would land either. Raises what the log has against
        this one: `EventTooLarge`, `AppendRefused`, or what encoding it raises.
        """
        new = NewEvent(
            event=event,
            event_id=row.key,
            occurred_at=timestamp(self._clock()),
            subject=row.subject,
            correlation_id=row.correlation_id,
            causation_id=row.cause,
            traceparent=of_event(row.traceparent, row.key),
        )
        expected: int | None = position
        moved = False
        while True:
            try:
                if moved:
                    expected = await self._guard(row)
                    moved = False
                if expected is not None:
                    await self._eventlog.append(row.stream, [new], expected_position=expected)
                return
            except ConcurrencyConflict:
                moved = True
            except (EventLogError, OSError) as error:
                if isinstance(error, EventTooLarge | AppendRefused) and not isinstance(error, NotPermitted):
                    raise
                _log.warning("an outcome waits for the log", key=row.key, error=repr(error))
                await asyncio.sleep(POLL_S)

    async def _lanes(self) -> list[str]:
        async with reading(self._pool, self.outbox.view, org=None) as connection:
            found = await (await connection.execute(self._sql[LANES])).fetchall()
            counted = await (await connection.execute(self._sql[COUNT])).fetchone() if found else None
            self.pending = counted["pending"] if counted else 0
        return [row["lane"] for row in found]

    async def _rows(self, lane: str, settled: set[str], limit: int) -> list[OutboxRow]:
        """The oldest ones that are not settled. Forgets what the view has taken out meanwhile."""
        async with reading(self._pool, self.outbox.view, org=None) as connection:
            found = await connection.execute(self._sql[ROWS], [lane, limit + IN_A_LANE + len(settled)])
            rows = [self.outbox.table(**row) for row in await found.fetchall()]
        settled &= {row.key for row in rows}
        return [row for row in rows if row.key not in settled][:limit]

    @cached_property
    def _sql(self) -> dict[str, Any]:
        table = Identifier(str(self.outbox.table.__tablename__))
        return {text: SQL(text).format(table=table).as_string(None) for text in (LANES, ROWS, COUNT)}
