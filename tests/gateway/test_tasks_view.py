"""The view of tasks: given events, then rows; the same rows however the log is cut into batches."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from event_examples import UNUSED, USED, WINDOW, admission
from projecting import open_pool
from remote_claude.contracts import REGISTRY, Event, Sealed
from remote_claude.contracts.gateway import RemoteRepository, TaskCancellationRequested, TaskSubmitted
from remote_claude.contracts.runner import (
    AttemptFinished,
    Cumulative,
    SealedOutput,
    TaskStarted,
    UsageRecorded,
)
from remote_claude.contracts.scheduler import (
    Limits,
    RunnerLost,
    TaskAdmitted,
    TaskAssigned,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
)
from remote_claude.eventsourcing.events import RecordedEvent, stream_id
from remote_claude.eventsourcing.postgres.schemas import connect, create_schema
from remote_claude.gateway.projections.tasks import TasksView

ORG, OTHER = "org_a", "org_b"
SEALED = Sealed(key=ORG, box="c2VhbGVk")


def submitted(task: str, org: str = ORG, **values: Any) -> TaskSubmitted:
    return TaskSubmitted(
        task=task, org=org, user="user_1", prompt=SEALED, agent="shell", body_hash="h", **values
    )


def attempt(task: str, number: int = 1, org: str = ORG) -> dict[str, Any]:
    return {"task": task, "org": org, "attempt": number, "runner": "runner_1"}


def assigned(task: str, number: int = 1) -> TaskAssigned:
    limits = Limits(vcpu_millis=1, memory_mib=1, duration_s=1)
    return TaskAssigned(
        **attempt(task, number),
        provider="local",
        pool="default",
        agent="shell",
        limits=limits,
        deadline="",
        lease_s=15,
    )


def used(task: str, sequence: int, vcpu_ms: int, number: int = 1) -> UsageRecorded:
    return UsageRecorded(
        **attempt(task, number), sequence=sequence, cumulative=Cumulative(vcpu_ms=vcpu_ms), **WINDOW
    )


def life(task: str) -> list[Event]:
    """Lost once, then a success, with a late word of the lost runner."""
    return [
        submitted(task),
        TaskAdmitted(task=task, org=ORG, admission=admission()),
        assigned(task),
        TaskStarted(**attempt(task)),
        used(task, 1, 100),
        RunnerLost(**attempt(task), reason="lease_expired", charge=False),
        TaskRequeued(task=task, org=ORG, attempt=2, reason="lease_expired", charge=False),
        assigned(task, 2),
        used(task, 2, 150),
        TaskStarted(**attempt(task, 2)),
        used(task, 1, 7, 2),
        AttemptFinished(
            **attempt(task, 2),
            outcome="succeeded",
            exit_code=0,
            output=SealedOutput(sha256="0" * 64, frames=9),
        ),
        TaskSucceeded(task=task, org=ORG, attempt=2, settlements=USED),
        AttemptFinished(**attempt(task), outcome="failed", exit_code=1),
    ]


def recorded(events: Sequence[Event]) -> list[RecordedEvent]:
    log = []
    for position, event in enumerate(events, 1):
        type, version, data = REGISTRY.encode(event)
        log.append(
            RecordedEvent(
                position=position,
                stream=stream_id(event.producer, "org_a", "thing", "x"),
                event_id=str(UUID(int=position)),
                type=type,
                version=version,
                occurred_at=f"2026-11-22T00:00:00.{position:06}Z",
                data=data,
                codec=REGISTRY,
            )
        )
    return log


@asynccontextmanager
async def empty(dsn: str, name: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with open_pool(dsn) as pool, connect(pool, name) as connection:
        await create_schema(connection, name, TasksView())
        yield connection


async def rows(connection: AsyncConnection[Any], table: str, order: str) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(f"SELECT * FROM {table} ORDER BY {order}".encode())
        return await cursor.fetchall()


async def told(dsn: str, events: Sequence[Event]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tasks and events of the view after these."""
    async with empty(dsn, "view") as connection:
        await TasksView().apply(connection, recorded(events))
        return await rows(connection, "task", "task"), await rows(connection, "event", "task, position")


async def test_a_task_lost_once_and_won_is_one_row(postgres_dsn: str) -> None:
    [task], events = await told(postgres_dsn, life("task_1"))
    expected = {
        "task": "task_1", "org": ORG, "position": 1, "state": "succeeded", "reason": None, "detail": None,
        "attempt": 2, "exit_code": 0, "started_at": "2026-11-22T00:00:00.000004Z",
        "finished_at": "2026-11-22T00:00:00.000013Z", "decided": 2, "changed": 13,
    }  # fmt: skip
    assert {name: task[name] for name in expected} == expected
    assert [(a["number"], a["outcome"], a["usage"]["vcpu_ms"]) for a in task["attempts"]] == [
        (1, "lost", 150),
        (2, "succeeded", 7),
    ]
    assert [event["type"] for event in events] == [event.type for event in life("task_1")]


async def test_rows_are_the_same_however_the_log_is_cut(postgres_dsn: str) -> None:
    lives = [life(f"task_{n}") for n in range(8)]
    lives.append(
        [submitted("task_9"), TaskRejected(task="task_9", org=ORG, code="quota_exceeded", detail="spent")]
    )
    lives.append(
        [
            submitted("task_x"),
            TaskCancellationRequested(task="task_x", org=ORG, user="user_1"),
            TaskFailed(task="task_x", org=ORG, settlements=UNUSED, reason="gone", exit_code=3),
        ]
    )
    choose = random.Random(7)
    mixed: list[Event] = []
    while lives:
        mixed.append((one := choose.choice(lives)).pop(0))
        lives = [life for life in lives if life] if not one else lives
    log = recorded(mixed)
    found = []
    for n, size in enumerate((1, 3, 10, len(log))):
        async with empty(postgres_dsn, f"view_{n}") as connection:
            for start in range(0, len(log), size):
                await TasksView().apply(connection, log[start : start + size])
            found.append([await rows(connection, t, "1, 2") for t in ("task", "submission", "event")])
    assert all(one == found[0] for one in found)
    assert len(found[0][0]) == 10


async def test_no_ciphertext_is_in_the_index_of_events(postgres_dsn: str) -> None:
    repository = RemoteRepository(url=SEALED, ref=SEALED)
    _, events = await told(postgres_dsn, [submitted("task_1", repository=repository, labels=SEALED)])
    assert SEALED.box not in str(events)
    assert events[0]["data"]["agent"] == "shell"


@pytest.mark.parametrize(
    "strange",
    [
        TaskAdmitted(task="task_unknown", org=ORG, admission=admission()),
        TaskRejected(task="task_1", org=OTHER, code="x", detail="not theirs"),
        used("task_unknown", 1, 1),
        UsageRecorded(**attempt("task_1", org=OTHER), sequence=1, cumulative=Cumulative(), **WINDOW),
    ],
)
async def test_what_concerns_no_task_of_the_organisation_is_passed_over(
    postgres_dsn: str, strange: Event
) -> None:
    [task], events = await told(postgres_dsn, [submitted("task_1"), strange])
    assert task["state"] == "submitted"
    assert [event["type"] for event in events] == ["TaskSubmitted"]


async def test_usage_above_2_to_the_53_is_kept_exact(postgres_dsn: str) -> None:
    huge = 2**60 + 1
    events = [submitted("task_1"), assigned("task_1"), used("task_1", 1, huge)]
    async with empty(postgres_dsn, "view") as connection:
        for event in recorded(events):
            await TasksView().apply(connection, [event])
        [task] = await rows(connection, "task", "task")
    assert task["attempts"][0]["usage"]["vcpu_ms"] == str(huge)
