"""Given-when-then for the scheduler: a log as a list, the state folded from it, and what is decided then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from event_examples import admission, runner_joined
from remote_claude.contracts import REGISTRY, Event, Sealed
from remote_claude.contracts.billing import Entitlements, PlanChanged, StorageMeasured
from remote_claude.contracts.gateway import (
    TaskCancellationRequested,
    TaskSubmitted,
    WebhookEvent,
    WebhookOutcome,
)
from remote_claude.contracts.registry import Registry
from remote_claude.contracts.runner import (
    AssignmentDeclined,
    AttemptEvent,
    AttemptFinished,
    RunnerDrained,
    RunnerJoined,
    RunnerUndrained,
    TaskStarted,
)
from remote_claude.contracts.scheduler import Limits, SchedulerEvent, TaskAdmitted, TaskAssigned
from remote_claude.contracts.users import OrgResumed, OrgSuspended
from remote_claude.eventsourcing.events import Context, NewEvent, RecordedEvent, stream_id, timestamp
from remote_claude.scheduler.domain.decide import Moment
from remote_claude.scheduler.domain.dispatch import decide_round
from remote_claude.scheduler.domain.draft import Draft
from remote_claude.scheduler.domain.evolve import evolve
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.domain.tasks import Assigned, Ended, Outcome, Running, end

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ORG = "org_acme"
RUNNER = "run_1"
SEALED = Sealed(key=ORG, box="x")

FREE = Entitlements(executions_per_month=100, vcpu_millis=2000, memory_mib=4096, duration_s=1800)
UNLIMITED = Entitlements(executions_per_month=None, vcpu_millis=2000, memory_mib=4096, duration_s=7200)


class Damaged(Registry):
    """A log on which the events that say "damaged" somewhere have been damaged."""

    def decode(self, type: str, version: int, data: bytes) -> Event:
        return super().decode(type, version, data.replace(b':"damaged"', b":3"))


class Newer(Registry):
    """A log that a newer release has written to."""

    def encode(self, event: Event) -> tuple[str, int, bytes]:
        name, _, data = super().encode(event)
        return name, 99, data


def on_plan(plan: str = "self-hosted", allowed: Entitlements = UNLIMITED, org: str = ORG) -> PlanChanged:
    return PlanChanged(org=org, plan=plan, entitlements=allowed)


def submitted(task: str = "task_1", org: str = ORG, **asked: Any) -> TaskSubmitted:
    return TaskSubmitted(
        **{"agent": "noop", **asked}, task=task, org=org, user="user_1", prompt=SEALED, body_hash="0"
    )


def cancelled(task: str = "task_1", org: str = ORG) -> TaskCancellationRequested:
    return TaskCancellationRequested(task=task, org=org, user="user_1")


def joined(
    runner: str = RUNNER, slots: int = 2, agents: Iterable[str] = ("noop",), **more: Any
) -> RunnerJoined:
    return runner_joined(runner, slots=slots, agents=tuple(agents), **more)


def drained(runner: str = RUNNER) -> RunnerDrained:
    return RunnerDrained(runner=runner)


def _of(task: str, attempt: int, runner: str, org: str) -> dict[str, Any]:
    return {"task": task, "attempt": attempt, "runner": runner, "org": org}


def started(task: str = "task_1", attempt: int = 1, runner: str = RUNNER, org: str = ORG) -> TaskStarted:
    return TaskStarted(**_of(task, attempt, runner, org))


def finished(
    outcome: str = "succeeded",
    task: str = "task_1",
    attempt: int = 1,
    runner: str = RUNNER,
    org: str = ORG,
    **more: Any,
) -> AttemptFinished:
    return AttemptFinished.model_validate({**_of(task, attempt, runner, org), "outcome": outcome, **more})


def declined(
    task: str = "task_1", attempt: int = 1, runner: str = RUNNER, org: str = ORG
) -> AssignmentDeclined:
    return AssignmentDeclined(**_of(task, attempt, runner, org), reason="no_slot")


def stream_of(event: Event) -> str:
    """The stream that the event's producer appends it to."""
    match event:
        case SchedulerEvent():
            return scheduler_stream(event.org)
        case AttemptEvent():
            return stream_id("runner", event.org, "attempt", f"{event.task}-{event.attempt}")
        case RunnerJoined() | RunnerDrained() | RunnerUndrained():
            return stream_id("runner", None, "runner", event.runner)
        case OrgSuspended() | OrgResumed():
            return stream_id("users", event.org, "org", event.org)
        case PlanChanged() | StorageMeasured():
            return stream_id("billing", event.org, "account", event.org)
        case WebhookEvent():
            return stream_id("gateway", event.org, "webhook", event.hook)
        case TaskSubmitted() | TaskCancellationRequested() | WebhookOutcome():
            return stream_id("gateway", event.org, "task", event.task)
    raise AssertionError(event)


def scheduler_stream(org: str = ORG) -> str:
    return stream_id("scheduler", org, "org", org)


def event_id(n: int) -> str:
    return str(uuid5(UUID(int=0), str(n)))


def recorded(event: Event | NewEvent, position: int) -> RecordedEvent:
    """An event as the log gives it back."""
    new = (
        event
        if isinstance(event, NewEvent)
        else NewEvent(event=event, event_id=event_id(position), occurred_at=timestamp(NOW))
    )
    name, version, data = REGISTRY.encode(new.event)
    return RecordedEvent(
        position=position,
        stream=stream_of(new.event),
        event_id=new.event_id,
        type=name,
        version=version,
        occurred_at=new.occurred_at,
        data=data,
        codec=REGISTRY,
        subject=new.subject,
        context=Context(causation_id=new.causation_id, cause=new.cause),
    )


@dataclass
class World:
    """A log and what is folded from it."""

    history: list[RecordedEvent] = field(default_factory=list)
    state: SchedulerState = field(default_factory=SchedulerState)

    def record(self, *events: Event | NewEvent) -> World:
        for event in events:
            self.history.append(recorded(event, len(self.history) + 1))
            evolve(self.state, self.history[-1])
        return self

    def free(self, *, without: Iterable[str] = ()) -> dict[str, int]:
        return {id: runner.free for id, runner in self.state.runners.items() if id not in without}

    def drafts(
        self,
        now: datetime = NOW,
        *,
        expired: Sequence[Ended] = (),
        gone: Iterable[str] = (),
        busy: Iterable[str] = (),
    ) -> dict[str, Draft]:
        by_org: dict[str, list[Ended]] = {}
        for ended in expired:
            by_org.setdefault(ended.submission.org, []).append(ended)
        moment = Moment(now=now, position=self.state.position)
        free = self.free(without=gone)
        return decide_round(self.state, moment, free, 15, busy=frozenset(busy), expired=by_org)

    def when(self, now: datetime = NOW, **given: Any) -> Decided:
        """Decide everything that can be decided."""
        drafts = self.drafts(now, **given)
        return Decided(self, [event for draft in drafts.values() for event in draft.events])

    def expired(
        self, outcome: Outcome = "lost", reason: str = "runner_lost", task: str = "task_1", org: str = ORG
    ) -> Ended:
        """What the leader finds when a runner no longer keeps an attempt."""
        attempt = self.state.task(org, task)
        assert isinstance(attempt, Assigned | Running)
        return end(attempt, outcome, attempt.assigned, reason=reason)


@dataclass
class Decided:
    world: World
    new: list[NewEvent]

    @property
    def events(self) -> list[SchedulerEvent]:
        return [new.event for new in self.new]

    def then(self, *expected: SchedulerEvent) -> World:
        """Check what was decided, and let it be recorded."""
        assert self.events == list(expected)
        return self.recorded()

    def recorded(self) -> World:
        return self.world.record(*self.new)


def given(*events: Event) -> World:
    """A log with these events, and nothing decided yet."""
    return World().record(*events)


def settled(*events: Event, now: datetime = NOW) -> World:
    """A log in which everything that follows from each of these events has been decided before the next."""
    world = World()
    for event in events:
        world.record(event).when(now).recorded()
    return world


TASK: dict[str, Any] = {"task": "task_1", "org": ORG}
ADMITTED = TaskAdmitted(**TASK, admission=admission())


def assigned(attempt: int = 1, runner: str = RUNNER, duration: int = 7200, **more: Any) -> TaskAssigned:
    return TaskAssigned(
        **{**TASK, "agent": "noop", "provider": "local", **more},
        attempt=attempt,
        runner=runner,
        pool="default",
        limits=Limits(vcpu_millis=2000, memory_mib=4096, duration_s=duration),
        deadline=timestamp(NOW + timedelta(seconds=duration)),
        lease_s=15,
    )


AT_ONCE = assigned(admission=admission())
"""Admitted and assigned in one decision."""
