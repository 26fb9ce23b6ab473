"""The independent reader: it finds nothing in a log that is right, and names what is wrong in one that is not."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from event_examples import UNUSED, USED, admission
from remote_claude.contracts import REGISTRY, Event, Sealed
from remote_claude.contracts.billing import Entitlements, PeriodOpened
from remote_claude.contracts.gateway import (
    WebhookAdded,
    WebhookDelivered,
    WebhookFailed,
    WebhookRemoved,
    WebhookReplayRequested,
)
from remote_claude.contracts.model_prices import list_prices
from remote_claude.contracts.prices import PriceBook
from remote_claude.contracts.runner import AttemptFinished, Cumulative, ModelUse, TaskStarted, UsageRecorded
from remote_claude.contracts.scheduler import (
    Limits,
    RunnerLost,
    TaskAdmitted,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskRequeued,
    TaskSucceeded,
)
from remote_claude.eventsourcing.events import Context, NewEvent, RecordedEvent, timestamp
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.runtime.admin.verification import Checker, VerificationReport, verify
from scheduling import (
    FREE,
    NOW,
    ORG,
    RUNNER,
    World,
    cancelled,
    finished,
    given,
    joined,
    on_plan,
    started,
    submitted,
)

OTHER = "run_2"
ONE = Entitlements(executions_per_month=1, vcpu_millis=2000, memory_mib=4096, duration_s=1800)
NONE_AT_ONCE = FREE.model_copy(update={"concurrency": 0})
AT_ONCE = {"measured_from": timestamp(NOW), "measured_to": timestamp(NOW)}
LATER = timestamp(NOW + timedelta(seconds=1))
LONG_BEFORE, DECEMBER = "2026-10-31T23:59:59.000000Z", "2026-12-01T00:00:00.000000Z"
HAIKU = ModelUse(provider="anthropic", model="claude-haiku-4-5", calls=1, quantities={"input": 10})
DEAR, FREE_USE = (
    Cumulative(vcpu_ms=5, model_use=(HAIKU,), model_nano_usd=nano_usd, price_table=list_prices().version)
    for nano_usd in (10_002, 0)
)
LARGE = Limits(vcpu_millis=2001, memory_mib=4096, duration_s=1800)


def used(sequence: int, vcpu_ms: int, attempt: int = 1) -> UsageRecorded:
    cumulative = Cumulative(vcpu_ms=vcpu_ms)
    return UsageRecorded(
        task="task_1",
        org=ORG,
        attempt=attempt,
        runner=RUNNER,
        sequence=sequence,
        cumulative=cumulative,
        **AT_ONCE,
    )


def a_right_log() -> World:
    """A lost attempt whose runner speaks up late, one that succeeds, and a task cancelled before it began."""
    world = given(on_plan("free", FREE), joined(slots=1), submitted(), submitted("task_2"))
    world.when().recorded()
    world.record(started(), used(1, 5))
    world.when(expired=[world.expired()]).recorded()
    world.when().recorded()
    world.record(used(2, 9), finished("lost", reason="revoked"))  # the runner was away, and comes back
    world.record(started(attempt=2), used(1, 3, attempt=2), cancelled("task_2"))
    world.when().recorded()
    world.record(finished(attempt=2))
    world.when().recorded()
    return world


def month(period: str, starts_at: str, ends_at: str) -> PeriodOpened:
    return PeriodOpened(
        org=ORG, period=period, starts_at=f"{starts_at}T00:00:00.000000Z", ends_at=f"{ends_at}T00:00:00.000000Z",
        plan="free", plan_version="1", price_book=PriceBook(version="1"), customer=ORG,
    )  # fmt: skip


def billed(world: World) -> World:
    """Its month and the next one, opened."""
    for period in (
        month("2026-11", "2026-11-01", "2026-12-01"),
        month("2026-12", "2026-12-01", "2027-01-01"),
    ):
        position = len(world.history) + 1  # the scheduler does not read it, so it is no `world.record`
        world.history.append(
            copy(
                world.history[0],
                type=PeriodOpened.type,
                data=period.to_json(),
                position=position,
                event_id=f"period-{position}",
            )
        )
    return world


def told(world: World) -> World:
    """Its two ends, told to a webhook."""
    sealed = Sealed(key=ORG, box="bm9uY2U=")
    world.record(
        WebhookAdded(hook="hook_1", org=ORG, url=sealed, secret=sealed),
        WebhookDelivered(task="task_1", org=ORG, hook="hook_1", status=200),
        WebhookFailed(task="task_2", org=ORG, hook="hook_1", reason="gone", status=410),
        WebhookReplayRequested(
            hook="hook_1",
            org=ORG,
            user="user_1",
            task="task_2",
            state="failed",
            event="e",
            position=7,
            ended_at="2026-11-22T12:00:00.000000Z",
        ),
        WebhookDelivered(task="task_2", org=ORG, hook="hook_1", status=200),
        WebhookRemoved(hook="hook_1", org=ORG),
    )
    return world


def checked(history: Sequence[RecordedEvent]) -> VerificationReport:
    checker = Checker()
    for recorded in history:
        checker.check(recorded)
    return checker.report


def test_nothing_is_found_in_a_log_that_is_right() -> None:
    report = checked(told(billed(a_right_log())).history)
    assert report.document() == {
        "ok": True, "events": report.events, "position": report.events, "tasks": 2, "live": 0, "violations": [],
    }  # fmt: skip


def test_a_start_that_lands_while_the_end_is_on_its_way_is_no_violation() -> None:
    world = given(on_plan("free", ONE), joined(), submitted(max_attempts=1), submitted("task_2"))
    world.when().recorded()
    end = world.when(expired=[world.expired()]).new
    world.record(started(), *end)
    world.when().recorded()
    assert checked(world.history).violations == []


def test_an_admission_is_held_against_the_plan_that_it_was_decided_on() -> None:
    world = given(on_plan(), submitted(), submitted("task_2"))
    admissions = world.when().new
    world.record(on_plan("free", ONE), *admissions)
    assert checked(world.history).violations == []


async def test_a_whole_log_is_read() -> None:
    log = InMemoryEventLog(REGISTRY)
    for task in ("task_1", "task_2"):
        new = NewEvent(event=submitted(task), event_id=f"id-{task}", occurred_at=timestamp(NOW))
        await log.append(f"ev.gateway.{ORG}.task.{task}", [new], expected_position=0)
    report = await verify(log)
    assert (report.events, report.tasks, report.live) == (2, 2, 2)


# Mutants. Each takes the right log's events and says them wrongly; positions are counted again.

Mutant = Callable[[list[RecordedEvent]], list[RecordedEvent]]


def place(history: list[RecordedEvent], kind: type[Event], nth: int = 0) -> int:
    return [n for n, recorded in enumerate(history) if recorded.type == kind.type][nth]


def copy(recorded: RecordedEvent, **changes: Any) -> RecordedEvent:
    names = (name for name in RecordedEvent.__slots__ if name not in ("_event", "_headers", "_context"))
    context = {name: changes.pop(name) for name in Context._fields if name in changes}
    same = {name.lstrip("_"): getattr(recorded, name) for name in names}
    return RecordedEvent(**same | changes, context=recorded.context._replace(**context))


def said(recorded: RecordedEvent, **fields: Any) -> RecordedEvent:
    """The same event with other fields."""
    return copy(recorded, data=recorded.event.model_copy(update=fields).to_json())


def changed(kind: type[Event], nth: int = 0, **fields: Any) -> Mutant:
    def mutate(history: list[RecordedEvent]) -> list[RecordedEvent]:
        n = place(history, kind, nth)
        return [*history[:n], said(history[n], **fields), *history[n + 1 :]]

    return mutate


def dropped(kind: type[Event], nth: int = 0) -> Mutant:
    def mutate(history: list[RecordedEvent]) -> list[RecordedEvent]:
        n = place(history, kind, nth)
        return [copy(r, causation_id=None) for i, r in enumerate(history) if i != n]

    return mutate


def repeated(kind: type[Event], nth: int = 0, *, same_id: bool = False, **fields: Any) -> Mutant:
    """The event a second time at the log's end."""

    def mutate(history: list[RecordedEvent]) -> list[RecordedEvent]:
        again = said(history[place(history, kind, nth)], **fields)
        return [*history, copy(again, event_id=again.event_id if same_id else "another", cause=None)]

    return mutate


def moved_to_front(kind: type[Event], nth: int = 0) -> Mutant:
    def mutate(history: list[RecordedEvent]) -> list[RecordedEvent]:
        n = place(history, kind, nth)
        return [history[n], *history[:n], *history[n + 1 :]]

    return mutate


def enveloped(kind: type[Event], **changes: Any) -> Mutant:
    def mutate(history: list[RecordedEvent]) -> list[RecordedEvent]:
        n = place(history, kind)
        return [*history[:n], copy(history[n], **changes), *history[n + 1 :]]

    return mutate


MUTANTS: list[tuple[str, Mutant]] = [
    ("event ids are unique", repeated(TaskStarted, same_id=True)),
    ("events can be read", enveloped(TaskSucceeded, data=b"{")),
    ("events can be read", enveloped(TaskAssigned, data=b'{"task": "task_1", "org": "org_acme"}')),
    ("what is caused follows its cause", moved_to_front(TaskAssigned)),
    ("causes are handled in their order", enveloped(TaskRequeued, cause=1)),
    ("causes are handled in their order", enveloped(TaskAdmitted, cause=10**6)),
    ("an organisation's events are in its own streams", changed(TaskStarted, org="org_other")),
    ("a task is submitted once", repeated(type(submitted()))),
    ("what concerns a task follows its submission", changed(cancelled().__class__, task="task_9")),
    ("what concerns a task follows its submission", changed(TaskAdmitted, task="task_9")),
    ("a task is admitted once", changed(TaskAdmitted, task="task_1")),
    ("only what was admitted is assigned", changed(TaskAssigned, admission=None)),
    ("no more is admitted than the plan allows", changed(on_plan().__class__, entitlements=ONE)),
    ("attempt numbers rise", changed(TaskAssigned, nth=1, attempt=1)),
    ("one attempt at a time", dropped(RunnerLost)),
    ("only the assigned runner speaks of an attempt", changed(TaskStarted, runner=OTHER)),
    ("only the assigned runner speaks of an attempt", changed(TaskStarted, attempt=3)),
    ("an attempt starts once", changed(TaskStarted, nth=1, attempt=1)),
    ("an attempt ends once", repeated(AttemptFinished, nth=1)),
    ("an attempt ends once", repeated(UsageRecorded, nth=2, sequence=2)),
    ("samples are numbered without a gap", changed(UsageRecorded, nth=1, sequence=3)),
    ("samples are numbered without a gap", changed(UsageRecorded, nth=1, sequence=1)),
    ("cumulative use never falls", changed(UsageRecorded, nth=1, cumulative=Cumulative(vcpu_ms=4))),
    ("what has succeeded was finished by its runner", dropped(AttemptFinished, nth=1)),
    ("what has succeeded was finished by its runner", changed(AttemptFinished, nth=1, outcome="failed")),
    ("a task counts as an execution when it has started", changed(TaskSucceeded, settlements=UNUSED)),
    ("reservations end with their task", changed(TaskCancelled, settlements=())),
    ("reservations end with their task", changed(TaskSucceeded, settlements=USED * 2)),
    ("an admission names its period and its plan", changed(TaskAdmitted, admission=admission("2026-12"))),
    ("an admission names its period and its plan", changed(TaskAssigned, admission=admission(plan_version="9"))),
    ("an attempt stays within its plan", changed(TaskAssigned, limits=LARGE)),
    ("a deadline follows from the duration", changed(TaskAssigned, deadline="2026-11-22T13:00:00.000000Z")),
    ("no more runs at one time than the plan allows", changed(on_plan().__class__, entitlements=NONE_AT_ONCE)),
    ("use stays within limits and time", changed(UsageRecorded, nth=1, cumulative=Cumulative(vcpu_ms=10_001))),
    ("use stays within limits and time", changed(UsageRecorded, nth=1, cumulative=Cumulative(gib_ms=20_001))),
    ("model use comes to its price", changed(UsageRecorded, cumulative=DEAR)),
    ("model use comes to its price", changed(UsageRecorded, cumulative=FREE_USE)),
    ("model use comes to its price", changed(UsageRecorded, cumulative=Cumulative(vcpu_ms=5, model_nano_usd=1))),
    ("use is measured from the attempt's start until its sample", changed(UsageRecorded, measured_to=DECEMBER)),
    ("use is measured from the attempt's start until its sample", changed(UsageRecorded, measured_from=LONG_BEFORE)),
    ("use is measured from the attempt's start until its sample", changed(UsageRecorded, nth=1, measured_from=LATER)),
    ("a period is opened once", repeated(PeriodOpened)),
    ("periods do not overlap", changed(PeriodOpened, nth=1, starts_at="2026-11-30T00:00:00.000000Z")),
    ("a period follows from its account's anchor", changed(PeriodOpened, period="2026-10")),
    ("a period follows from its account's anchor", changed(PeriodOpened, ends_at="2026-11-30T00:00:00.000000Z")),
    ("a task ends once", repeated(TaskSucceeded)),
    ("a task ends once", repeated(TaskRequeued)),
    ("a webhook is added once", repeated(WebhookAdded)),
    ("a webhook gets tasks of its own organisation", dropped(WebhookAdded)),
    ("a webhook gets tasks of its own organisation", changed(WebhookRemoved, org="org_other")),
    ("a webhook gets tasks that have ended", dropped(TaskSucceeded)),
    ("a webhook gets tasks that have ended", changed(WebhookFailed, task="task_9")),
    ("a delivery to a webhook has one outcome", repeated(WebhookDelivered)),
    ("a delivery to a webhook has one outcome", changed(WebhookFailed, task="task_1")),
    ("a delivery to a webhook has one outcome", dropped(WebhookReplayRequested)),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "mutant"), MUTANTS)
def test_each_violation_is_found_and_named(rule: str, mutant: Mutant) -> None:
    history = mutant(told(billed(a_right_log())).history)
    report = checked([copy(recorded, position=n) for n, recorded in enumerate(history, 1)])
    assert rule in {violation.rule for violation in report.violations}
    assert not report.document()["ok"]


def test_a_position_that_comes_twice_is_found() -> None:
    history = a_right_log().history
    assert [v.rule for v in checked([*history, copy(history[-1], event_id="another")]).violations][:1] == [
        "positions rise"
    ]


def test_the_summary_names_the_first_violation_and_where_it_is() -> None:
    report = checked([copy(r, cause=None) for r in repeated(TaskSucceeded)(a_right_log().history)])
    assert report.summary().startswith("VIOLATED: positions rise at position")


def test_a_failure_can_be_reported_by_the_scheduler_alone() -> None:
    world = given(on_plan(), joined(), submitted(max_attempts=1))
    world.when().recorded()
    world.record(started())
    world.when(expired=[world.expired()]).recorded()
    assert world.history[-1].type == TaskFailed.type
    assert checked(world.history).violations == []
