"""The view `billing_usage`: the usage of organisations, down to the single event, and its sums."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from remote_claude.billing.projections import metering
from remote_claude.billing.projections.tables import (
    Account,
    BillingPeriod,
    Execution,
    Group,
    KnownTask,
    LostAttempt,
    ModelDay,
    PeriodSegment,
    Tables,
    TaskUse,
    Total,
    Usage,
)
from remote_claude.contracts.billing import PeriodClosed, PeriodOpened, PlanChanged, StorageMeasured
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import AttemptFinished, TaskStarted, UsageRecorded
from remote_claude.contracts.scheduler import RunnerLost, TaskAdmitted, TaskAssigned
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.tables import Row, load, upsert
from remote_claude.eventsourcing.views import View


class UsageView(View):
    """Folds plans, periods, tasks, their first starts and samples."""

    name: ClassVar[str] = "billing_usage"
    version: ClassVar[int] = 12
    tables = Tables.metadata
    handles = frozenset(
        e.type
        for e in (
            PlanChanged,
            PeriodOpened,
            PeriodClosed,
            TaskSubmitted,
            TaskAdmitted,
            TaskAssigned,
            TaskStarted,
            UsageRecorded,
            AttemptFinished,
            RunnerLost,
            StorageMeasured,
        )
    )

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        state = await _load(connection, events)
        for recorded in events:
            metering.fold(state, recorded)
        state.expand()
        totals = await load(connection, Total, state.sums)
        groups = await load(connection, Group, state.groups)
        models = await load(connection, ModelDay, state.models)
        used = await load(connection, TaskUse, state.used)
        state.add_to(totals, groups, models, used)
        await upsert(connection, Account, state.accounts.values())
        await upsert(connection, BillingPeriod, _changed(state.periods, state.changed_periods))
        await upsert(connection, PeriodSegment, state.new_segments)
        await upsert(connection, KnownTask, _changed(state.tasks, state.changed_tasks))
        await upsert(connection, Execution, state.new_executions)
        await upsert(connection, LostAttempt, state.new_lost)
        await upsert(connection, Usage, state.changed_usage())
        await upsert(connection, Total, totals.values())
        await upsert(connection, Group, groups.values())
        await upsert(connection, ModelDay, models.values())
        await upsert(connection, TaskUse, used.values())


def _changed(rows: dict[Any, Row], keys: Iterable[Any]) -> list[Row]:
    return [rows[key] for key in keys]


async def _load(connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> metering.MeteringRows:
    """What these events are folded into."""
    attempts: set[tuple[str, str, int]] = set()
    tasks: set[tuple[str, str]] = set()
    orgs: set[str] = set()
    for recorded in events:
        event = recorded.event
        orgs.add(event.org)
        match event:
            case UsageRecorded() | RunnerLost() | AttemptFinished():
                attempts.add((event.org, event.task, event.attempt))
                tasks.add((event.org, event.task))
            case StorageMeasured():
                attempts.add(metering.stored_by(event.org))
                tasks.add((event.org, ""))
            case TaskSubmitted() | TaskAdmitted() | TaskStarted() | TaskAssigned():
                tasks.add((event.org, event.task))
    usage: list[Row] = []
    if attempts:
        given = [list(column) for column in zip(*sorted(attempts), strict=True)]
        usage = await _rows(
            connection,
            "SELECT u.* FROM usage u JOIN unnest(%s::text[], %s::text[], %s::int[]) AS a (org, task, attempt)"
            " USING (org, task, attempt)",
            given,
        )
    return metering.MeteringRows(
        accounts=await load(connection, Account, orgs),
        periods={
            (row["org"], row["period"]): row
            for row in await _rows(connection, "SELECT * FROM period WHERE org = ANY (%s)", [list(orgs)])
        },
        segments=await _rows(
            connection,
            "SELECT org, period, number, starts_at FROM segment WHERE org = ANY (%s) ORDER BY org, period, number",
            [list(orgs)],
        ),
        tasks=await load(connection, KnownTask, tasks),
        executions=set(await load(connection, Execution, tasks)),
        lost=set(await load(connection, LostAttempt, attempts)),
        usage=usage,
    )


async def _rows(connection: AsyncConnection[Any], query: str, values: list[Any]) -> list[Row]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query.encode(), values)
        return await cursor.fetchall()
