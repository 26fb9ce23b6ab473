"""A schedule: when it is due, by its cron expression and time zone, and what was missed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.gateway import (
    ScheduleCreated,
    ScheduleDue,
    ScheduleRefused,
    ScheduleRemoved,
)
from remote_claude.eventsourcing.events import timestamp
from remote_claude.gateway.domain.refusals import ScheduleInvalid, ScheduleNotFound

FIELDS = 5
MAX_MISSED = 1000
"""More missed runs than these are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSchedule:
    schedule: str
    org: str
    user: str
    cron: str
    zone: str
    since: datetime
    request: Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSchedule:
    schedule: str
    org: str
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDue:
    """Record the latest run that is due at `now`, if there is one."""

    schedule: str
    org: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseDue:
    """Record that the run of `due` has no task."""

    schedule: str
    org: str
    due: str
    reason: str


Command = CreateSchedule | RemoveSchedule | StartDue | RefuseDue


@dataclass(frozen=True, slots=True)
class ScheduleNotCreated:
    """Nothing is known of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveSchedule:
    """Due times count from `since`: its creation, then the last one."""

    cron: str
    zone: str
    since: datetime
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class RemovedSchedule:
    """It starts nothing more."""


State = ScheduleNotCreated | ActiveSchedule | RemovedSchedule
initial_state: State = ScheduleNotCreated()


def decide(command: Command, state: State) -> list[Event]:
    """What is to be recorded. Raises `ScheduleNotFound`."""
    match command, state:
        case CreateSchedule(), ScheduleNotCreated():
            return [
                ScheduleCreated(
                    schedule=command.schedule,
                    org=command.org,
                    user=command.user,
                    cron=command.cron,
                    zone=command.zone,
                    since=timestamp(command.since),
                    request=command.request,
                )
            ]
        case RemoveSchedule(), ActiveSchedule():
            return [ScheduleRemoved(schedule=command.schedule, org=command.org, user=command.user)]
        case StartDue(), ActiveSchedule(cron=cron, zone=zone, since=since):
            due, missed = latest_due(cron, zone, since, command.now)
            if due is None:
                return []
            return [
                ScheduleDue(schedule=command.schedule, org=command.org, due=timestamp(due), missed=missed)
            ]
        case RefuseDue(), ActiveSchedule() if state.refused != command.due:
            return [
                ScheduleRefused(
                    schedule=command.schedule, org=command.org, due=command.due, reason=command.reason
                )
            ]
        case RemoveSchedule(), ScheduleNotCreated():
            raise ScheduleNotFound(command.schedule)
        case ((CreateSchedule() | RemoveSchedule() | StartDue() | RefuseDue()), _):
            return []
        case _:
            assert_never(command)


def evolve(state: State, event: Event) -> State:
    """The state after an event."""
    match event, state:
        case ScheduleCreated(cron=cron, zone=zone, since=since), _:
            return ActiveSchedule(cron=cron, zone=zone, since=datetime.fromisoformat(since))
        case ScheduleDue(due=due), ActiveSchedule():
            return replace(state, since=datetime.fromisoformat(due))
        case ScheduleRefused(due=due), ActiveSchedule():
            return replace(state, refused=due)
        case ScheduleRemoved(), _:
            return RemovedSchedule()
        case _:
            return state


def check(cron: str, zone: str) -> None:
    """Raises `ScheduleInvalid` for what is no cron expression of five fields, or no time zone."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleInvalid(
            f"There is no time zone {zone!r}. Name one such as Europe/Berlin or UTC."
        ) from error
    if len(cron.split()) != FIELDS:
        raise ScheduleInvalid(
            "A schedule has five fields: minute, hour, day of the month, month, day of the week, such as `0 7 * * 1-5`."
        )
    try:
        next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        raise ScheduleInvalid(f"{cron!r} is no cron expression that is ever due: {error}.") from error


def next_due(cron: str, zone: str, after: datetime) -> datetime:
    """The first due time after another, in UTC."""
    return next(CronSim(cron, after.astimezone(ZoneInfo(zone)))).astimezone(UTC)


def latest_due(cron: str, zone: str, since: datetime, now: datetime) -> tuple[datetime | None, int]:
    """The last due time after `since` and up to `now`, and how many there were before it."""
    due, count = None, 0
    for at in CronSim(cron, since.astimezone(ZoneInfo(zone))):
        if at > now:
            break
        due, count = at, count + 1
        if count > MAX_MISSED:
            return now.replace(second=0, microsecond=0), MAX_MISSED
    return due.astimezone(UTC) if due is not None else None, max(0, count - 1)
