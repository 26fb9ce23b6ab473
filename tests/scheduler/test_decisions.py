"""Given-when-then: what the scheduler decides."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from event_examples import UNUSED, USED, WINDOW, admission
from remote_claude.contracts.billing import Entitlements, StorageMeasured
from remote_claude.contracts.prices import PerUnit, PriceBook
from remote_claude.contracts.runner import (
    Cumulative,
    RunnerUndrained,
    UsageSample,
)
from remote_claude.contracts.scheduler import (
    RunnerLost,
    Settlement,
    TaskAdmitted,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.contracts.users import OrgResumed, OrgSuspended
from remote_claude.eventsourcing.events import caused_id, timestamp
from remote_claude.scheduler.domain.tasks import Assigned, Running
from scheduling import (
    ADMITTED,
    AT_ONCE,
    FREE,
    NOW,
    ORG,
    RUNNER,
    TASK,
    UNLIMITED,
    assigned,
    cancelled,
    declined,
    drained,
    finished,
    given,
    joined,
    on_plan,
    settled,
    started,
    submitted,
)


class TestAdmission:
    def test_a_task_within_its_plan_is_admitted(self) -> None:
        given(on_plan("free", FREE), submitted()).when().then(ADMITTED)

    def test_a_task_without_a_plan_is_rejected(self) -> None:
        [event] = given(submitted()).when().events
        assert isinstance(event, TaskRejected)
        assert event.code == "no_plan"
        assert "rclaude-admin plan set" in event.detail

    def test_a_suspended_organisation_gets_no_task_admitted_until_it_resumes(self) -> None:
        world = given(on_plan("free", FREE), OrgSuspended(org=ORG, reason="unpaid for 60 days"), submitted())
        [event] = world.when().events
        assert isinstance(event, TaskRejected)
        assert event.code == "org_suspended"
        assert "unpaid for 60 days" in event.detail
        resumed = world.when().recorded().record(OrgResumed(org=ORG), submitted("task_2"))
        assert [type(e) for e in resumed.when().events] == [TaskAdmitted]

    def test_the_last_execution_of_the_month_is_given_once(self) -> None:
        two = FREE.model_copy(update={"executions_per_month": 2})
        decided = given(on_plan("free", two), *(submitted(f"task_{n}") for n in range(4))).when()
        assert [type(e) for e in decided.events] == [TaskAdmitted, TaskAdmitted, TaskRejected, TaskRejected]

    def test_a_refusal_says_the_plan_the_limit_and_when_the_month_ends(self) -> None:
        none = FREE.model_copy(update={"executions_per_month": 0})
        [event] = given(on_plan("free", none), submitted()).when().events
        assert isinstance(event, TaskRejected)
        assert event.code == "quota_exceeded"
        assert "plan free allows 0 executions" in event.detail
        assert "2026-12-01" in event.detail

    def test_a_rejected_task_is_forgotten(self) -> None:
        world = given(submitted()).when().recorded()
        assert world.state.organisations[ORG].tasks == {}
        world.when().then()

    def test_a_new_month_has_its_own_quota(self) -> None:
        one = FREE.model_copy(update={"executions_per_month": 1})
        world = given(on_plan("free", one), submitted("task_0")).when().recorded()
        december = datetime(2026, 12, 1, tzinfo=UTC)
        world.record(submitted()).when(december).then(TaskAdmitted(**TASK, admission=admission("2026-12")))

    def test_a_task_that_never_started_gives_its_execution_back(self) -> None:
        one = FREE.model_copy(update={"executions_per_month": 1})
        world = given(on_plan("free", one), submitted("task_0")).when().recorded()
        world.record(cancelled("task_0"), submitted())
        world.when().then(TaskCancelled(task="task_0", org=ORG, settlements=UNUSED), ADMITTED)

    def test_a_task_that_started_keeps_its_execution(self) -> None:
        one = FREE.model_copy(update={"executions_per_month": 1})
        world = settled(on_plan("free", one), joined(), submitted("task_0"), started("task_0"))
        world.record(finished("failed", "task_0")).when().recorded()
        [event] = world.record(submitted()).when().events
        assert isinstance(event, TaskRejected)

    def test_a_failed_task_that_is_charged_as_an_execution_says_so(self) -> None:
        world = settled(on_plan("free", FREE), joined(), submitted("task_0"), started("task_0"))
        [ended] = world.record(finished("failed", "task_0")).when().events
        assert isinstance(ended, TaskFailed)
        assert [(s.meter, s.settled, s.released) for s in ended.settlements] == [("executions", 1, 0)]

    def test_an_upgrade_takes_effect_with_the_next_submission(self) -> None:
        one = FREE.model_copy(update={"executions_per_month": 1})
        world = given(on_plan("free", one), submitted("task_0"), submitted("task_2")).when().recorded()
        assert isinstance(world.history[-1].event, TaskRejected)
        larger = one.model_copy(update={"executions_per_month": 2, "vcpu_millis": 4000})
        world.record(on_plan("pro", larger), submitted("task_3"), submitted("task_4"))
        admitted, refused = world.when().events
        assert isinstance(admitted, TaskAdmitted)
        assert isinstance(refused, TaskRejected)
        assert (admitted.task, refused.task) == ("task_3", "task_4")
        assert "plan pro allows 2" in refused.detail

    def test_an_execution_is_given_back_in_the_month_it_was_reserved_in(self) -> None:
        one = FREE.model_copy(update={"executions_per_month": 1})
        world = given(on_plan("free", one), submitted("task_0")).when().recorded()
        december = datetime(2026, 12, 1, tzinfo=UTC)
        world.record(submitted("task_2")).when(december).recorded()
        world.record(cancelled("task_0")).when(december).recorded()
        assert world.state.organisations[ORG].reserved == {"2026-11": 0, "2026-12": 1}

    def test_money_that_is_reserved_is_settled_with_what_was_used_and_the_rest_is_free_again(self) -> None:
        three = UNLIMITED.model_copy(update={"model_nano_usd": 3 * 10**9})
        two: dict[str, Any] = {"budget_nano_usd": 2 * 10**9}
        budgets = joined(capabilities=("budget",))
        world = settled(on_plan("pro", three), budgets, submitted("task_0", **two), started("task_0"))
        [refused] = world.record(submitted("task_2", **two)).when().events
        assert isinstance(refused, TaskRejected)
        assert "$1.00 of it is neither used nor reserved" in refused.detail
        total = Cumulative(model_nano_usd=5 * 10**8)
        usage = UsageSample(sequence=1, cumulative=total, **WINDOW).model_dump(mode="json")
        world.when().recorded()
        [ended] = world.record(finished("failed", "task_0", usage=usage)).when().events
        money = Settlement(meter="model_nano_usd", settled=5 * 10**8, released=15 * 10**8)
        assert isinstance(ended, TaskFailed)
        assert ended.settlements == (*USED, money)
        world.when().recorded()
        [event] = world.record(submitted("task_3", **two)).when().events
        assert isinstance(event, TaskAdmitted | TaskAssigned)

    def test_of_a_thousand_at_once_no_more_are_admitted_than_the_money_is_enough_for(self) -> None:
        ten = UNLIMITED.model_copy(update={"model_nano_usd": 10 * 10**9})
        one: dict[str, Any] = {"budget_nano_usd": 10**9}
        world = given(on_plan("pro", ten), *(submitted(f"task_{n}", **one) for n in range(1000)))
        kinds = Counter[type]()
        while events := world.when().events:
            kinds.update(map(type, events))
            world = world.when().recorded()
        assert kinds == {TaskAdmitted: 10, TaskRejected: 990}

    def test_a_plan_with_overage_reserves_softly_and_refuses_nobody(self) -> None:
        soft = UNLIMITED.model_copy(update={"model_nano_usd": 1, "storage_bytes": 1, "overage": True})
        [event] = given(on_plan("pro", soft), submitted()).when().events
        assert isinstance(event, TaskAdmitted)
        assert [(r.meter, r.kind) for r in event.admission.reservations] == [
            ("executions", "hard"), ("model_nano_usd", "soft"), ("storage_bytes", "soft"),
        ]  # fmt: skip

    def test_storage_and_total_dollars_are_refused_once_nothing_is_left(self) -> None:
        full = UNLIMITED.model_copy(update={"storage_bytes": 100})
        measured = StorageMeasured(org=ORG, day="2026-11-22", size=100, measured_at=timestamp(NOW))
        [event] = given(on_plan("pro", full), measured, submitted()).when().events
        assert isinstance(event, TaskRejected)
        assert "of storage" in event.detail
        book = PriceBook(version="1", components=(PerUnit(meter="vcpu_ms", price="11"),))
        plan = on_plan("pro", UNLIMITED.model_copy(update={"total_nano_usd": 7200 * 2000 * 11}))
        priced = plan.model_copy(update={"price_book": book})
        first, second = given(priced, submitted(), submitted("task_2")).when().events
        assert isinstance(first, TaskAdmitted)  # as much as its time allows: the whole limit
        assert isinstance(second, TaskRejected)

    def test_a_larger_plan_counts_at_once(self) -> None:
        none = FREE.model_copy(update={"executions_per_month": 0})
        given(on_plan("free", none), on_plan("pro", FREE), submitted()).when().then(ADMITTED)

    def test_a_submission_that_was_cancelled_first_is_not_admitted(self) -> None:
        given(on_plan(), submitted(), cancelled()).when().then(TaskCancelled(**TASK))


class TestAssignment:
    def test_a_task_that_is_admitted_and_assigned_at_once_has_one_event(self) -> None:
        world = given(on_plan(), joined(), submitted()).when().then(AT_ONCE)
        task = world.state.task(ORG, "task_1")
        assert isinstance(task, Assigned)
        assert task.admission == admission()
        assert world.state.organisations[ORG].reserved == {"2026-11": 1}

    def test_a_cancellation_beside_an_assignment_at_once_is_carried_out(self) -> None:
        world = given(on_plan(), joined(), submitted())
        decided = world.when()
        world.record(cancelled())
        decided.then(AT_ONCE).when().then(TaskCancelled(**TASK, attempt=1, settlements=UNUSED))

    def test_limits_are_the_plans(self) -> None:
        [event] = given(on_plan("free", FREE), joined(), submitted()).when().events
        assert event == assigned(duration=1800, admission=admission())

    def test_a_task_runs_where_its_provider_is(self) -> None:
        world = given(on_plan(), joined(), joined("run_2", provider="docker"), submitted(provider="docker"))
        world.when().then(assigned(runner="run_2", provider="docker", admission=admission()))

    def test_a_machine_of_ones_own_takes_tasks_of_its_organisation_only(self) -> None:
        others = joined("run_2", provider="machine").model_copy(update={"only_for": "org_2"})
        waits = given(on_plan(), others, submitted())
        waits.when().then(ADMITTED)
        own = joined("run_2", provider="machine").model_copy(update={"only_for": ORG})
        world = given(on_plan(), own, submitted(provider="machine"))
        world.when().then(assigned(runner="run_2", provider="machine", admission=admission()))

    def test_a_task_runs_where_its_capabilities_are(self) -> None:
        able = joined("run_2", capabilities=("image", "network"))
        world = given(on_plan(), joined(), able, submitted(image="python:3.12"))
        world.when().then(assigned(runner="run_2", image="python:3.12", admission=admission()))

    def test_a_task_waits_for_the_provider_that_it_asks_for_and_delays_no_other(self) -> None:
        world = given(on_plan(), joined(), submitted("task_0", provider="docker"), submitted())
        world.when().then(TaskAdmitted(task="task_0", org=ORG, admission=admission()), AT_ONCE)

    def test_a_shorter_timeout_is_kept_and_a_longer_one_cut_to_the_plan(self) -> None:
        [short] = given(on_plan("free", FREE), joined(), submitted(timeout_s=60)).when().events
        [long] = given(on_plan("free", FREE), joined(), submitted(timeout_s=86400)).when().events
        assert (short, long) == (
            assigned(duration=60, admission=admission()),
            assigned(duration=1800, admission=admission()),
        )

    @pytest.mark.parametrize(
        "runner",
        [
            joined(slots=0),
            joined(agents=("claude",)),
            joined(vcpu_millis=1000),
            joined(memory_mib=1024),
        ],
        ids=["no slot", "another agent", "too few vCPU", "too little memory"],
    )
    def test_a_task_waits_for_a_runner_that_fits(self, runner: Any) -> None:
        world = given(on_plan(), runner, submitted()).when().then(ADMITTED)
        world.record(joined("run_2")).when().then(assigned(runner="run_2"))

    def test_a_drained_runner_gets_nothing_more(self) -> None:
        given(on_plan(), joined(), drained(), submitted()).when().then(ADMITTED)

    def test_an_undrained_runner_gets_work_again(self) -> None:
        world = given(on_plan(), joined(), drained(), submitted()).when().then(ADMITTED)
        world.record(RunnerUndrained(runner=RUNNER)).when().then(assigned())

    def test_a_runner_that_is_not_there_gets_nothing(self) -> None:
        given(on_plan(), joined(), submitted()).when(gone={RUNNER}).then(ADMITTED)

    def test_the_emptiest_runner_is_chosen(self) -> None:
        world = settled(on_plan(), joined(slots=2), submitted("task_0"), joined("run_2", slots=2))
        world.record(submitted()).when().then(assigned(runner="run_2", admission=admission()))

    def test_slots_are_never_filled_twice(self) -> None:
        tasks = [submitted(f"task_{n}") for n in range(5)]
        world = given(on_plan(), joined(slots=2), *tasks)
        assert sum(isinstance(e, TaskAssigned) for e in world.when().events) == 2
        world.when().recorded().when().then()

    def test_a_slot_is_free_again_when_its_attempt_has_finished(self) -> None:
        world = settled(on_plan(), joined(slots=1), submitted("task_0"), started("task_0"), submitted())
        world.record(finished(task="task_0"))
        world.when().then(TaskSucceeded(task="task_0", org=ORG, attempt=1, settlements=USED), assigned())

    def test_concurrency_of_the_plan_is_respected(self) -> None:
        one = Entitlements(
            executions_per_month=None, vcpu_millis=2000, memory_mib=4096, duration_s=7200, concurrency=1
        )
        world = given(on_plan("free", one), joined(slots=4), submitted("task_0"), submitted("task_2"))
        assert sum(isinstance(e, TaskAssigned) for e in world.when().events) == 1
        world.when().recorded().when().then()

    def test_a_higher_priority_goes_first_then_age(self) -> None:
        world = given(on_plan(), submitted("task_a"), submitted("task_b", priority=5), submitted("task_c"))
        world.when().recorded()
        order = [e.task for e in world.record(joined(slots=3)).when().events]
        assert order == ["task_b", "task_a", "task_c"]

    def test_a_task_that_no_runner_can_run_delays_no_other(self) -> None:
        world = given(on_plan(), joined(), submitted("task_0", agent="claude", priority=9), submitted())
        assert world.when().events[-1] == AT_ONCE


class TestFairness:
    def test_organisations_take_turns(self) -> None:
        world = given(on_plan(), on_plan(org="org_b"))
        world.record(*(submitted(f"task_a{n}") for n in range(100)), submitted("task_b", "org_b"))
        world.when().recorded()
        world.record(joined(slots=2))
        assert [e.org for e in world.when().events] == [ORG, "org_b"]

    def test_turns_go_on_where_they_stopped(self) -> None:
        world = given(on_plan(), on_plan(org="org_b"))
        world.record(*(submitted(f"task_a{n}") for n in range(5)))
        world.record(*(submitted(f"task_b{n}", "org_b") for n in range(5))).when().recorded()
        served = []
        for n in range(6):
            [event] = world.record(joined(f"run_{n}", slots=1)).when().new
            served.append(event.event.org)
            world.record(event)
        assert served == [ORG, "org_b"] * 3

    def test_a_heavier_plan_gets_more_in_a_turn(self) -> None:
        heavier = UNLIMITED.model_copy(update={"weight": 2})
        world = given(on_plan(), on_plan("pro", heavier, "org_b"))
        world.record(*(submitted(f"task_a{n}") for n in range(9)))
        world.record(*(submitted(f"task_b{n}", "org_b") for n in range(9))).when().recorded()
        world.record(joined(slots=6))
        assert Counter(e.org for e in world.when().events) == {ORG: 2, "org_b": 4}

    def test_an_organisation_whose_append_is_on_its_way_keeps_its_turn(self) -> None:
        world = given(on_plan(), on_plan(org="org_b"), submitted(), submitted("task_b", "org_b"))
        world.when().recorded()
        world.record(joined(slots=1))
        assert [e.org for e in world.when(busy={ORG}).events] == ["org_b"]
        assert [e.org for e in world.when().events] == [ORG]


class TestOutcome:
    @pytest.mark.parametrize(
        ("said", "event"),
        [
            (finished("succeeded"), TaskSucceeded(**TASK, attempt=1, settlements=USED)),
            (
                finished("failed", exit_code=3),
                TaskFailed(**TASK, attempt=1, settlements=USED, reason="agent_failed", exit_code=3),
            ),
            (
                finished("failed", reason="repository_not_found"),
                TaskFailed(**TASK, attempt=1, settlements=USED, reason="repository_not_found"),
            ),
            (finished("cancelled"), TaskCancelled(**TASK, attempt=1, settlements=USED)),
            (finished("timed_out"), TaskTimedOut(**TASK, attempt=1, settlements=USED)),
        ],
        ids=["succeeded", "failed", "failed with a reason", "cancelled", "timed out"],
    )
    def test_the_end_of_an_attempt_ends_the_task(self, said: Any, event: Any) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        world.record(said).when().then(event)
        assert world.state.organisations[ORG].tasks == {}

    def test_an_attempt_that_failed_before_its_start_was_no_execution(self) -> None:
        world = settled(on_plan(), joined(), submitted())
        world.record(finished("failed")).when().then(
            TaskFailed(**TASK, attempt=1, settlements=UNUSED, reason="agent_failed")
        )

    def test_a_cancellation_that_came_too_late_changes_nothing(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        world.record(cancelled(), finished()).when().then(TaskSucceeded(**TASK, attempt=1, settlements=USED))


class TestCancellation:
    def test_a_queued_task_is_cancelled_at_once(self) -> None:
        settled(on_plan(), submitted()).record(cancelled()).when().then(
            TaskCancelled(**TASK, settlements=UNUSED)
        )

    def test_a_running_task_is_stopped_by_its_runner(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        world.record(cancelled()).when().then()
        world.record(finished("cancelled")).when().then(TaskCancelled(**TASK, attempt=1, settlements=USED))

    def test_a_cancellation_that_its_assignment_overtook_is_carried_out_by_the_scheduler(self) -> None:
        world = settled(on_plan(), submitted()).record(joined())
        decided = world.when()
        world.record(cancelled())
        decided.then(assigned()).when().then(TaskCancelled(**TASK, attempt=1, settlements=UNUSED))

    def test_a_cancelled_task_is_not_tried_again(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started(), cancelled())
        world.record(finished("lost", reason="sandbox_lost")).when().then(
            RunnerLost(**TASK, attempt=1, runner=RUNNER, reason="sandbox_lost", charge=False),
            TaskCancelled(**TASK, attempt=1, settlements=USED),
        )

    def test_a_second_request_to_cancel_changes_nothing(self) -> None:
        world = settled(on_plan(), submitted()).record(cancelled(), cancelled())
        world.when().then(TaskCancelled(**TASK, settlements=UNUSED))
        world.record(cancelled()).when().then()


class TestLateness:
    @pytest.mark.parametrize("late", [started(), finished(), finished("lost"), declined(), cancelled()])
    def test_nothing_changes_after_the_end(self, late: Any) -> None:
        world = settled(on_plan(), joined(), submitted(), started(), finished())
        world.record(late).when().then()
        assert world.state.organisations[ORG].tasks == {}

    @pytest.mark.parametrize("late", [finished(), finished("lost"), declined()])
    def test_events_of_an_older_attempt_change_nothing(self, late: Any) -> None:
        world = settled(on_plan(), joined(), submitted(), finished("lost"))
        before = world.state.task(ORG, "task_1")
        world.record(late).when().then()
        assert world.state.task(ORG, "task_1") == before

    def test_a_start_of_an_older_attempt_counts_as_an_execution_and_changes_nothing_else(self) -> None:
        world = settled(on_plan(), joined(), submitted(), finished("lost"))
        before = world.state.task(ORG, "task_1")
        assert isinstance(before, Assigned)
        world.record(started()).when().then()
        assert world.state.task(ORG, "task_1") == replace(before, executed=True)

    def test_a_start_that_comes_while_the_end_is_on_its_way_keeps_the_reservation(self) -> None:
        world = settled(on_plan(), joined(), submitted(max_attempts=1))
        end = world.when(expired=[world.expired()]).new
        world.record(started(), *end)
        assert world.state.organisations[ORG].reserved == {"2026-11": 1}

    def test_only_events_of_the_assigned_runner_count(self) -> None:
        world = settled(on_plan(), joined(), submitted())
        world.record(started(runner="run_9"), finished(runner="run_9")).when().then()

    def test_a_submission_read_twice_is_one_task(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        world.record(submitted()).when().then()
        assert isinstance(world.state.task(ORG, "task_1"), Running)


class TestEnvelope:
    def test_ids_follow_from_causes(self) -> None:
        world = given(on_plan(), joined(), submitted())
        assert [e.event_id for e in world.when().new] == [e.event_id for e in world.when().new]
        assert [e.event_id for e in world.when().new] == [
            caused_id(world.history[-1].event_id, "scheduler/task_1/assign")
        ]

    def test_each_decision_names_its_task_and_what_caused_it(self) -> None:
        world = given(on_plan(), submitted())
        [admitted] = world.when().new
        assert admitted.causation_id == world.history[-1].event_id
        [later] = world.record(admitted, joined()).when().new
        assert later.causation_id == admitted.event_id
        assert {e.subject for e in (admitted, later)} == {"task_1"}
        assert {e.correlation_id for e in (admitted, later)} == {"task_1"}
        assert [e.cause for e in (admitted, later)] == [2, 4]

    def test_a_decision_made_at_once_is_caused_by_the_submission(self) -> None:
        world = given(on_plan(), joined(), submitted())
        [decided] = world.when().new
        assert decided.causation_id == world.history[-1].event_id
        assert decided.cause == 3

    def test_one_restart_gives_every_task_its_own_ids(self) -> None:
        world = settled(on_plan(), joined(), submitted(), submitted("task_2"))
        ids = [e.event_id for e in world.record(joined()).when().new]
        assert len(set(ids)) == len(ids) == 6
