"""The view `gateway_starters`: schedules and triggers, and which runs of a schedule have no task yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts import Sealed
from remote_claude.contracts.gateway import (
    ScheduleCreated,
    ScheduleDue,
    ScheduleRefused,
    ScheduleRemoved,
    TaskSubmitted,
    TriggerCreated,
    TriggerRemoved,
)
from remote_claude.eventsourcing.events import RecordedEvent, timestamp
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import TableRow, delete, load, reading, upsert
from remote_claude.eventsourcing.views import View
from remote_claude.gateway.domain.forge_events import Forge
from remote_claude.gateway.domain.schedules import next_due


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class ScheduleRow(Tables, table=True):
    """A schedule, until it is removed. `pending` is a due time whose task has not been submitted yet."""

    __tablename__ = "schedule"
    schedule: str = Field(primary_key=True)
    org: str = Field(index=True)
    created_by: str
    created_at: str
    cron: str
    zone: str
    request: dict[str, Any] = Field(sa_type=JSONB)
    next_due: str = Field(index=True)
    pending: str | None
    last_due: str | None
    last_task: str | None
    last_refusal: str | None
    missed: int


class TriggerRow(Tables, table=True):
    """A trigger, until it is removed."""

    __tablename__ = "forge_trigger"
    trigger: str = Field(primary_key=True)
    org: str = Field(index=True)
    created_by: str
    created_at: str
    forge: str
    secret: dict[str, Any] = Field(sa_type=JSONB)
    rules: dict[str, Any] = Field(sa_type=JSONB)
    request: dict[str, Any] = Field(sa_type=JSONB)
    last_task: str | None


class StartersView(View):
    """Folds what starts tasks by itself, and the tasks that it has started."""

    name: ClassVar[str] = "gateway_starters"
    version: ClassVar[int] = 1
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        event.type
        for event in (
            ScheduleCreated,
            ScheduleRemoved,
            ScheduleDue,
            ScheduleRefused,
            TriggerCreated,
            TriggerRemoved,
            TaskSubmitted,
        )
    )
    pace: ClassVar[float] = 0.1

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        concerned = [name for recorded in events if (name := _starter(recorded.event)) is not None]
        if not concerned:
            return
        schedules = await load(connection, ScheduleRow, concerned)
        triggers = await load(connection, TriggerRow, concerned)
        for recorded in events:
            match recorded.event:
                case ScheduleCreated() as created:
                    schedules[created.schedule] = _schedule(created, recorded.occurred_at)
                case ScheduleDue(schedule=name, due=due, missed=missed) if name in schedules:
                    row = schedules[name]
                    following = next_due(row["cron"], row["zone"], datetime.fromisoformat(due))
                    row |= {"pending": due, "last_due": due, "next_due": timestamp(following)}
                    row |= {"missed": row["missed"] + missed, "last_refusal": None}
                case ScheduleRefused(schedule=name, due=due, reason=reason) if name in schedules:
                    schedules[name] |= {"pending": None, "last_refusal": reason}
                case TaskSubmitted(started_by=name, task=task) if name in schedules:
                    schedules[name] |= {"pending": None, "last_task": task}
                case TriggerCreated() as made:
                    triggers[made.trigger] = _trigger(made, recorded.occurred_at)
                case TaskSubmitted(started_by=name, task=task) if name in triggers:
                    triggers[name] |= {"last_task": task}
                case ScheduleRemoved(schedule=name):
                    schedules.pop(name, None)
                case TriggerRemoved(trigger=name):
                    triggers.pop(name, None)
        await upsert(connection, ScheduleRow, schedules.values())
        await upsert(connection, TriggerRow, triggers.values())
        await delete(connection, ScheduleRow, sorted(set(concerned) - schedules.keys()))
        await delete(connection, TriggerRow, sorted(set(concerned) - triggers.keys()))


def _starter(event: Any) -> str | None:
    if isinstance(event, TaskSubmitted):
        return event.started_by
    found: str = getattr(event, "schedule", None) or event.trigger
    return found


def _schedule(created: ScheduleCreated, at: str) -> dict[str, Any]:
    return {
        "schedule": created.schedule,
        "org": created.org,
        "created_by": created.user,
        "created_at": at,
        "cron": created.cron,
        "zone": created.zone,
        "request": created.request.model_dump(),
        "next_due": timestamp(next_due(created.cron, created.zone, datetime.fromisoformat(created.since))),
        "pending": None,
        "last_due": None,
        "last_task": None,
        "last_refusal": None,
        "missed": 0,
    }


def _trigger(created: TriggerCreated, at: str) -> dict[str, Any]:
    return {
        "trigger": created.trigger,
        "org": created.org,
        "created_by": created.user,
        "created_at": at,
        "forge": created.forge,
        "secret": created.secret.model_dump(),
        "rules": created.rules.model_dump(),
        "request": created.request.model_dump(),
        "last_task": None,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as the view has it. Times are RFC 3339 in UTC."""

    schedule: str
    org: str
    created_by: str
    created_at: str
    cron: str
    zone: str
    request: Sealed
    next_due: str
    pending: str | None
    last_due: str | None
    last_task: str | None
    last_refusal: str | None
    missed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A trigger as the view has it."""

    trigger: str
    org: str
    created_by: str
    created_at: str
    forge: Forge
    secret: Sealed
    rules: Sealed
    request: Sealed
    last_task: str | None


async def schedules(pool: Pool, org: str) -> list[Schedule]:
    """Those of an organisation, in the order in which they were made."""
    return await _schedules(pool, "org = %s", org, org)


async def due_schedules(pool: Pool, now: str) -> list[Schedule]:
    """Those whose time has come at `now`, and those with a run that has no task yet."""
    return await _schedules(pool, "pending IS NOT NULL OR next_due <= %s", now)


async def _schedules(pool: Pool, which: str, value: str, org: str | None = None) -> list[Schedule]:
    async with reading(pool, StartersView, org=org) as connection:
        query = f"SELECT * FROM schedule WHERE {which} ORDER BY schedule"  # noqa: S608 - two constants, above
        found = await connection.execute(query, [value])
        return [Schedule(**row | {"request": Sealed(**row["request"])}) for row in await found.fetchall()]


async def triggers(pool: Pool, *, org: str | None = None, trigger: str | None = None) -> list[Trigger]:
    """Those of an organisation, or one."""
    async with reading(pool, StartersView, org=org) as connection:
        found = await connection.execute(
            "SELECT * FROM forge_trigger WHERE org = COALESCE(%s, org) AND trigger = COALESCE(%s, trigger) ORDER BY trigger",
            [org, trigger],
        )
        return [
            Trigger(**row | {name: Sealed(**row[name]) for name in ("secret", "rules", "request")})
            for row in await found.fetchall()
        ]
