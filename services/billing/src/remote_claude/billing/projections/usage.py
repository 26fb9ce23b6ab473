"""What organisations have used, down to the event that says so; their tasks; and the plan and prices they are rated at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import BigInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from remote_claude.contracts.billing import PeriodOpened, PlanChanged
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import WORKER_LOST, Cumulative, TaskStarted, UsageRecorded
from remote_claude.contracts.scheduler import RunnerLost
from remote_claude.eventsourcing.events import RecordedEvent
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
    version: ClassVar[int] = 3
    tables = Tables.metadata
    handles = frozenset(
        e.type for e in (PlanChanged, PeriodOpened, TaskSubmitted, TaskStarted, UsageRecorded, RunnerLost)
    )

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        sampled = {
            (e.org, e.task, e.attempt)
            for recorded in events
            if isinstance(e := recorded.event, UsageRecorded)
        }
        usage = _Samples(await _load(connection, sampled))
        accounts, periods, tasks, executions, lost = [], [], [], [], []
        for recorded in events:
            match recorded.event:
                case PlanChanged() as e:
                    accounts.append((e.org, e.plan, Jsonb(e.entitlements.model_dump(mode="json"))))
                case PeriodOpened() as e:
                    book = Jsonb(e.price_book.model_dump(mode="json"))
                    periods.append((e.org, e.period, e.starts_at, e.ends_at, book))
                case TaskSubmitted() as e:
                    tasks.append((e.org, e.task))
                case TaskStarted() as e:
                    period = recorded.occurred_at[:7]
                    executions.append((e.org, e.task, period, recorded.event_id, recorded.position))
                case UsageRecorded() as e:
                    usage.record(recorded, e)
                case RunnerLost() as e if e.reason != WORKER_LOST:
                    lost.append((e.org, e.task, e.attempt))
        async with connection.cursor() as cursor:
            if accounts:
                await cursor.executemany(
                    "INSERT INTO account VALUES (%s, %s, %s) ON CONFLICT (org)"
                    " DO UPDATE SET plan = excluded.plan, entitlements = excluded.entitlements",
                    accounts,
                )
            if periods:
                await cursor.executemany(
                    "INSERT INTO period VALUES (%s, %s, %s, %s, %s) ON CONFLICT (org, period) DO NOTHING",
                    periods,
                )
            if tasks:
                await cursor.executemany("INSERT INTO task VALUES (%s, %s) ON CONFLICT DO NOTHING", tasks)
            if executions:
                await cursor.executemany(
                    "INSERT INTO execution VALUES (%s, %s, %s, %s, %s) ON CONFLICT (org, task) DO NOTHING",
                    executions,
                )
            if lost:
                await cursor.executemany(
                    "INSERT INTO lost_attempt VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", lost
                )
            if usage.changed:
                await cursor.executemany(
                    "INSERT INTO usage VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
                    " ON CONFLICT (org, task, attempt, period) DO UPDATE SET sequence = excluded.sequence,"
                    " cumulative = excluded.cumulative, before = excluded.before,"
                    " event_id = excluded.event_id, position = excluded.position",
                    [usage.rows[key].values() for key in sorted(usage.changed)],
                )


Attempt = tuple[str, str, int]


@dataclass(slots=True)
class _Row:
    org: str
    task: str
    attempt: int
    period: str
    sequence: int
    cumulative: dict[str, Any]
    before: dict[str, Any]
    event_id: str
    position: int

    def values(self) -> tuple[Any, ...]:
        fields = asdict(self)
        return tuple(Jsonb(value) if isinstance(value, dict) else value for value in fields.values())


class _Samples:
    """The rows of the attempts of one batch, as they change."""

    def __init__(self, rows: list[_Row]) -> None:
        self.rows = {(row.org, row.task, row.attempt, row.period): row for row in rows}
        self.changed: set[tuple[str, str, int, str]] = set()
        self._attempts: dict[Attempt, list[_Row]] = defaultdict(list)
        for row in rows:
            self._attempts[row.org, row.task, row.attempt].append(row)

    def record(self, recorded: RecordedEvent, event: UsageRecorded) -> None:
        attempt = (event.org, event.task, event.attempt)
        earlier = self._attempts[attempt]
        last = max(earlier, key=lambda row: row.sequence, default=None)
        if last is not None and last.sequence >= event.sequence:
            return
        period = recorded.occurred_at[:7]
        cumulative = event.cumulative.model_dump(mode="json")
        row = self.rows.get((*attempt, period))
        if row is None:
            before = last.cumulative if last else Cumulative().model_dump(mode="json")
            row = _Row(
                *attempt, period, event.sequence, cumulative, before, recorded.event_id, recorded.position
            )
            self.rows[(*attempt, period)] = row
            earlier.append(row)
        else:
            row.sequence, row.cumulative = event.sequence, cumulative
            row.event_id, row.position = recorded.event_id, recorded.position
        self.changed.add((*attempt, period))


async def _load(connection: AsyncConnection[Any], attempts: set[Attempt]) -> list[_Row]:
    if not attempts:
        return []
    orgs, tasks, numbers = zip(*sorted(attempts), strict=True)
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT u.* FROM usage u JOIN unnest(%s::text[], %s::text[], %s::int[]) AS a (org, task, attempt)"
            " USING (org, task, attempt)",
            (list(orgs), list(tasks), list(numbers)),
        )
        return [_Row(**row) for row in await cursor.fetchall()]
