"""What organisations have used, down to the event that says so; their tasks; and the plan and prices they are rated at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads
from sqlalchemy import BigInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from remote_claude.contracts.billing import PeriodOpened, PlanChanged
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import (
    AttemptEvent,
    AttemptFinished,
    Cumulative,
    TaskStarted,
    UsageRecorded,
    UsageSample,
)
from remote_claude.contracts.scheduler import RunnerLost
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.tables import Row, add, upsert
from remote_claude.eventsourcing.views import View


class Tables(SQLModel, registry=registry()):
    """The tables of this view, apart from every other view's."""


class Account(Tables, table=True):
    """The plan that an organisation is on now."""

    org: str = Field(primary_key=True)
    plan: str
    entitlements: dict[str, Any] = Field(sa_type=JSONB)


class BillingPeriod(Tables, table=True):
    """A period and the prices it opened with."""

    __tablename__ = "period"

    org: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    starts_at: str
    ends_at: str
    price_book: dict[str, Any] = Field(sa_type=JSONB)


class KnownTask(Tables, table=True):
    """A task of an organisation, whether or not it has ever run: what can be asked for its bill."""

    __tablename__ = "task"

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)


class Execution(Tables, table=True):
    """A task that has started at least once, in the period of its first start."""

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    period: str = Field(index=True)
    event_id: str
    position: int = Field(sa_type=BigInteger)


class Usage(Tables, table=True):
    """What one attempt has used up to its last sample in a period; `before` is what earlier periods have of that."""

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    period: str = Field(primary_key=True)
    sequence: int
    cumulative: dict[str, Any] = Field(sa_type=JSONB)
    before: dict[str, Any] = Field(sa_type=JSONB)
    event_id: str
    position: int = Field(sa_type=BigInteger)


class LostAttempt(Tables, table=True):
    """An attempt that was lost by no doing of its own: its model dollars are charged, its compute is not."""

    __tablename__ = "lost_attempt"

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)


class UsageView(View):
    """Folds plans, periods, tasks, their first starts and samples."""

    name: ClassVar[str] = "billing_usage"
    version: ClassVar[int] = 5
    tables = Tables.metadata
    handles = frozenset(
        e.type
        for e in (
            PlanChanged,
            PeriodOpened,
            TaskSubmitted,
            TaskStarted,
            UsageRecorded,
            AttemptFinished,
            RunnerLost,
        )
    )

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        sampled = {
            recorded.stream: recorded.event
            for recorded in events
            if recorded.type in (UsageRecorded.type, AttemptFinished.type)
        }
        usage = _Samples(await _load(connection, {_attempt(event) for event in sampled.values()}))
        accounts, periods, tasks, executions, lost = (list[Row]() for _ in range(5))
        for recorded in events:
            match recorded.event:
                case UsageRecorded() as e:
                    usage.record(recorded, e, e)
                case AttemptFinished() | TaskStarted() as e:
                    if isinstance(e, AttemptFinished) and e.usage is not None:
                        usage.record(recorded, e, e.usage)
                    if isinstance(e, AttemptFinished) and e.started_at is None:
                        continue
                    place = {"event_id": recorded.event_id, "position": recorded.position}
                    executions.append({"org": e.org, "task": e.task, "period": _month(recorded), **place})
                case TaskSubmitted() as e:
                    tasks.append({"org": e.org, "task": e.task})
                case RunnerLost() as e if not e.charge:
                    lost.append({"org": e.org, "task": e.task, "attempt": e.attempt})
                case PlanChanged() as e:
                    accounts.append(e.model_dump(mode="json", include={"org", "plan", "entitlements"}))
                case PeriodOpened() as e:
                    kept = {"org", "period", "starts_at", "ends_at", "price_book"}
                    periods.append(e.model_dump(mode="json", include=kept))
        await upsert(connection, Account, accounts)
        await add(connection, BillingPeriod, periods)
        await add(connection, KnownTask, tasks)
        await add(connection, Execution, executions)
        await add(connection, LostAttempt, lost)
        await upsert(connection, Usage, usage.changed())


Attempt = tuple[str, str, int]


def _attempt(event: AttemptEvent) -> Attempt:
    return event.org, event.task, event.attempt


def _month(recorded: RecordedEvent) -> str:
    return recorded.occurred_at[:7]


class _Samples:
    """The rows of the attempts of one batch, as they change."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows: dict[tuple[Attempt, str], Row] = {}
        self._last: dict[Attempt, Row] = {}
        """The row with an attempt's last sample."""
        self._changed: dict[tuple[Attempt, str], Row] = {}
        for row in sorted(rows, key=lambda row: int(row["sequence"])):
            attempt = row["org"], row["task"], row["attempt"]
            self._rows[attempt, row["period"]] = self._last[attempt] = row

    def record(self, recorded: RecordedEvent, event: AttemptEvent, sample: UsageSample) -> None:
        attempt = _attempt(event)
        last = self._last.get(attempt)
        if last is not None and last["sequence"] >= sample.sequence:
            return
        month = _month(recorded)
        if last is not None:  # a clock that goes back over midnight takes nothing back
            month = max(month, last["period"])
        key = attempt, month
        row = self._rows.get(key)
        if row is None:
            row = dict(zip(("org", "task", "attempt", "period"), (*attempt, month), strict=True))
            row["before"] = last["cumulative"] if last else Cumulative()
            self._rows[key] = row
        row["sequence"], row["cumulative"] = sample.sequence, sample.total
        row["event_id"], row["position"] = recorded.event_id, recorded.position
        self._changed[key] = self._last[attempt] = row

    def changed(self) -> list[Row]:
        """As they are stored."""
        quantities = ("cumulative", "before")
        return [{**row, **{name: _plain(row[name]) for name in quantities}} for row in self._changed.values()]


def _plain(used: Cumulative | dict[str, Any]) -> dict[str, Any]:
    return used.model_dump(mode="json") if isinstance(used, Cumulative) else used


async def _load(connection: AsyncConnection[Any], attempts: set[Attempt]) -> list[Row]:
    """Every row of these attempts, whatever the period."""
    if not attempts:
        return []
    orgs, tasks, numbers = zip(*sorted(attempts), strict=True)
    async with connection.cursor(row_factory=dict_row) as cursor:
        set_json_loads(orjson.loads, cursor)
        await cursor.execute(
            "SELECT u.* FROM usage u JOIN unnest(%s::text[], %s::text[], %s::int[]) AS a (org, task, attempt)"
            " USING (org, task, attempt)",
            (list(orgs), list(tasks), list(numbers)),
        )
        return await cursor.fetchall()
