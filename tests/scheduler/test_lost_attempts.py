"""Given-when-then: what the scheduler decides of attempts that are lost, given back or declined."""

from typing import Any

import pytest

from event_examples import UNUSED, USED
from remote_claude.contracts.runner import (
    RUNNER_RESTARTED,
    WORKER_FAILED,
    WORKER_LOST,
)
from remote_claude.contracts.scheduler import (
    RunnerLost,
    TaskCancelled,
    TaskFailed,
    TaskRequeued,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.scheduler.domain.tasks import Assigned, Queued
from remote_claude.scheduler.projections.snapshots import Snapshot
from remote_claude.worker.protocol import messages as worker_messages
from scheduling import (
    ORG,
    RUNNER,
    TASK,
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

LOST = finished("lost", reason=RUNNER_RESTARTED)


class TestLoss:
    def test_a_lost_attempt_is_tried_again_under_the_next_number(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        world.record(finished("lost", reason="worker_lost")).when().then(
            RunnerLost(**TASK, attempt=1, runner=RUNNER, reason="worker_lost", charge=True),
            TaskRequeued(**TASK, attempt=2, reason="worker_lost"),
            assigned(attempt=2),
        )

    def test_a_fault_that_a_worker_reports_is_not_tried_again_and_is_charged(self) -> None:
        assert worker_messages.WORKER_FAILED == WORKER_FAILED
        world = settled(on_plan(), joined(), submitted(), started())
        world.record(finished("failed", reason=WORKER_FAILED)).when().then(
            TaskFailed(**TASK, attempt=1, settlements=USED, reason=WORKER_FAILED)
        )

    def test_a_task_fails_when_its_attempts_are_spent(self) -> None:
        world = settled(on_plan(), joined(), submitted(max_attempts=2), started())
        world.record(finished("lost")).when().recorded()
        world.record(finished("lost", attempt=2)).when().then(
            RunnerLost(**TASK, attempt=2, runner=RUNNER, reason="lost", charge=False),
            TaskFailed(**TASK, attempt=2, settlements=USED, reason="attempts_exhausted"),
        )

    def test_a_lost_attempt_costs_no_second_execution(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started(), finished("lost"), started(attempt=2))
        world.record(finished(attempt=2)).when().recorded()
        assert world.state.organisations[ORG].reserved == {"2026-11": 1}

    def test_an_attempt_that_its_runner_no_longer_keeps_is_lost(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        world.when(expired=[world.expired()], gone={RUNNER}).then(
            RunnerLost(**TASK, attempt=1, runner=RUNNER, reason="runner_lost", charge=False),
            TaskRequeued(**TASK, attempt=2, reason="runner_lost"),
        )

    def test_an_attempt_long_after_its_deadline_is_timed_out(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        world.when(expired=[world.expired("timed_out")]).then(
            TaskTimedOut(**TASK, attempt=1, settlements=USED)
        )

    def test_what_has_ended_meanwhile_does_not_expire(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        expired = world.expired()
        world.record(finished()).when(expired=[expired]).then(
            TaskSucceeded(**TASK, attempt=1, settlements=USED)
        )

    def test_a_runner_that_joins_again_has_lost_what_it_held(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        world.record(joined()).when().then(
            RunnerLost(**TASK, attempt=1, runner=RUNNER, reason="runner_restarted", charge=False),
            TaskRequeued(**TASK, attempt=2, reason="runner_restarted"),
            assigned(attempt=2),
        )

    def test_what_is_assigned_after_a_runner_joined_again_is_not_lost(self) -> None:
        world = given(on_plan(), joined(), submitted())
        decided = world.when()
        world.record(joined())
        decided.recorded().when().then()
        assert isinstance(world.state.task(ORG, "task_1"), Assigned)

    @pytest.mark.parametrize("order", [(LOST, joined()), (joined(), LOST)])
    @pytest.mark.parametrize("at_once", [True, False])
    def test_a_restart_that_is_recorded_twice_costs_one_retry(self, order: Any, at_once: bool) -> None:
        world = settled(on_plan(), joined(), submitted(), started())
        for event in order:
            world.record(event)
            if not at_once:
                world.when().recorded()
        world.when().recorded()
        task = world.state.task(ORG, "task_1")
        assert isinstance(task, Assigned)
        assert (task.attempt, task.lost) == (2, 1)

    def test_a_repeated_task_goes_before_new_ones(self) -> None:
        world = settled(on_plan(), joined(slots=1), submitted(), started(), submitted("task_2"))
        [*_, event] = world.record(finished("lost")).when().events
        assert event == assigned(attempt=2)


class TestGivingBack:
    """A runner that ends by itself says so first: what it then leaves unfinished costs no retry."""

    GIVEN_BACK = RunnerLost(**TASK, attempt=1, runner=RUNNER, reason="runner_drained", charge=False)

    def test_what_a_drained_runner_gives_back_costs_no_retry(self) -> None:
        world = settled(on_plan(), joined(), submitted(max_attempts=1), started(), drained())
        world.record(finished("lost", reason="lost")).when().then(
            self.GIVEN_BACK, TaskRequeued(**TASK, attempt=2, reason="runner_drained")
        )
        task = world.state.task(ORG, "task_1")
        assert isinstance(task, Queued)
        assert (task.attempt, task.lost) == (2, 0)
        world.record(joined()).when().then(assigned(attempt=2))
        world.record(started(attempt=2), finished(attempt=2)).when().then(
            TaskSucceeded(**TASK, attempt=2, settlements=USED)
        )

    @pytest.mark.parametrize("word", [(LOST, joined()), (joined(), LOST)])
    def test_what_a_drained_runner_had_no_time_to_give_back_is_given_back_by_its_next_process(
        self, word: Any
    ) -> None:
        world = settled(on_plan(), joined(), submitted(max_attempts=1), started(), drained())
        for event in word:
            world.record(event).when().recorded()
        world.when().recorded()
        task = world.state.task(ORG, "task_1")
        assert isinstance(task, Assigned)
        assert (task.attempt, task.lost) == (2, 0)

    def test_a_drained_runner_may_still_end_what_it_has(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started(), drained())
        world.record(finished()).when().then(TaskSucceeded(**TASK, attempt=1, settlements=USED))

    def test_a_worker_that_is_lost_meanwhile_is_lost(self) -> None:
        world = settled(on_plan(), joined(), submitted(max_attempts=1), started(), drained())
        world.record(finished("lost", reason=WORKER_LOST)).when().then(
            RunnerLost(**TASK, attempt=1, runner=RUNNER, reason=WORKER_LOST, charge=True),
            TaskFailed(**TASK, attempt=1, settlements=USED, reason="attempts_exhausted"),
        )

    def test_what_was_cancelled_is_not_tried_again(self) -> None:
        world = settled(on_plan(), joined(), submitted(), started(), cancelled(), drained())
        world.record(finished("lost")).when().then(
            self.GIVEN_BACK, TaskCancelled(**TASK, attempt=1, settlements=USED)
        )

    def test_a_runner_that_is_back_loses_what_it_loses(self) -> None:
        world = settled(on_plan(), joined(), drained(), joined(), submitted(max_attempts=1), started())
        world.record(finished("lost")).when().then(
            RunnerLost(**TASK, attempt=1, runner=RUNNER, reason="lost", charge=False),
            TaskFailed(**TASK, attempt=1, settlements=USED, reason="attempts_exhausted"),
        )

    def test_the_state_is_the_same_out_of_a_snapshot(self) -> None:
        world = settled(on_plan(), joined(), submitted(max_attempts=1), started(), drained())
        assert Snapshot.of(world.state).state() == world.state


class TestDecline:
    def test_a_declined_assignment_costs_no_retry(self) -> None:
        world = settled(on_plan(), joined(), submitted(max_attempts=1))
        world.record(declined()).when(gone={RUNNER}).then(TaskRequeued(**TASK, attempt=2, reason="declined"))
        task = world.state.task(ORG, "task_1")
        assert isinstance(task, Queued)
        assert (task.attempt, task.lost) == (2, 0)

    def test_a_declined_task_that_was_cancelled_is_over(self) -> None:
        world = settled(on_plan(), joined(), submitted(), cancelled())
        world.record(declined()).when().then(TaskCancelled(**TASK, attempt=1, settlements=UNUSED))
