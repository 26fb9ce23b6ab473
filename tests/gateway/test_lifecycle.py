"""A task's life as it is told by three services, in one order."""

from typing import Any

import pytest

from event_examples import SEALED, UNUSED, USED, WINDOW, admission
from remote_claude.contracts import Event
from remote_claude.contracts.gateway import PermissionAnswered
from remote_claude.contracts.runner import (
    AssignmentDeclined,
    AttemptFinished,
    Cumulative,
    ModelUse,
    PermissionRequested,
    PermissionWithdrawn,
    Result,
    SealedOutput,
    TaskStarted,
    UsageRecorded,
)
from remote_claude.contracts.scheduler import (
    Limits,
    RunnerLost,
    TaskAdmitted,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.gateway.domain.lifecycle import TaskProgress, evolve, total_usage

ID: dict[str, Any] = {"task": "task_1", "org": "org_1"}
ADMITTED = TaskAdmitted(**ID, admission=admission())
SUCCEEDED = TaskSucceeded(**ID, attempt=1, settlements=USED)


def assigned(attempt: int = 1) -> TaskAssigned:
    limits = Limits(vcpu_millis=1000, memory_mib=512, duration_s=60)
    return TaskAssigned(
        **ID,
        attempt=attempt,
        runner=f"runner_{attempt}",
        provider="local",
        pool="default",
        agent="shell",
        limits=limits,
        deadline="",
        lease_s=15,
    )


def says(attempt: int = 1) -> dict[str, Any]:
    return {**ID, "attempt": attempt, "runner": f"runner_{attempt}"}


def started(attempt: int = 1) -> TaskStarted:
    return TaskStarted(**says(attempt))


def finished(attempt: int = 1, **values: Any) -> AttemptFinished:
    return AttemptFinished(**says(attempt), **{"outcome": "succeeded", "exit_code": 0, **values})


def lost(attempt: int = 1) -> list[Event]:
    return [
        RunnerLost(**says(attempt), reason="lease_expired", charge=False),
        TaskRequeued(**ID, attempt=attempt + 1, reason="lease_expired", charge=False),
    ]


def used(sequence: int, vcpu_ms: int, attempt: int = 1) -> UsageRecorded:
    use = (ModelUse(provider="anthropic", model="opus", quantities={"input": vcpu_ms}),)
    return UsageRecorded(
        **says(attempt), sequence=sequence, cumulative=Cumulative(vcpu_ms=vcpu_ms, model_use=use), **WINDOW
    )


def told(*events: Event) -> TaskProgress:
    progress = TaskProgress(changed=1)
    for position, event in enumerate(events, 2):
        progress = evolve(progress, event, position=position, occurred_at=f"t{position}")
    return progress


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([], "submitted"),
        ([ADMITTED], "queued"),
        ([TaskRejected(**ID, code="quota_exceeded", detail="spent")], "rejected"),
        ([ADMITTED, assigned()], "assigned"),
        ([ADMITTED, assigned(), started()], "running"),
        ([ADMITTED, assigned(), started(), finished()], "running"),
        ([ADMITTED, assigned(), started(), finished(), SUCCEEDED], "succeeded"),
        ([ADMITTED, assigned(), started(), *lost()], "queued"),
        ([ADMITTED, assigned(), started(), *lost(), assigned(2)], "assigned"),
        ([ADMITTED, TaskCancelled(**ID, settlements=UNUSED)], "cancelled"),
        ([ADMITTED, assigned(), started(), TaskTimedOut(**ID, attempt=1, settlements=USED)], "timed_out"),
        ([ADMITTED, assigned(), TaskFailed(**ID, settlements=USED, reason="worker_lost")], "failed"),
    ],
)
def test_the_state_follows_from_the_events(events: list[Event], state: str) -> None:
    assert told(*events).state == state


def test_a_rejection_keeps_its_code_and_says_why() -> None:
    progress = told(TaskRejected(**ID, code="quota_exceeded", detail="100 of 100 are spent"))
    assert (progress.reason, progress.detail) == ("quota_exceeded", "100 of 100 are spent")
    assert progress.decided == progress.changed == 2
    assert progress.finished_at == "t2"


@pytest.mark.parametrize(
    "late", [started(), finished(exit_code=9), used(1, 5), ADMITTED, assigned(2), SUCCEEDED]
)
def test_nothing_changes_the_state_after_the_end(late: Event) -> None:
    end = told(
        ADMITTED,
        assigned(),
        TaskFailed(**ID, attempt=1, settlements=USED, reason="agent_failed", exit_code=3),
    )
    after = evolve(end, late, position=99, occurred_at="late")
    for name in ("state", "reason", "attempt", "exit_code", "started_at", "finished_at", "changed"):
        assert getattr(after, name) == getattr(end, name)


def test_what_a_runner_says_after_the_end_is_kept_with_its_attempt() -> None:
    output = SealedOutput(sha256="0" * 64, frames=3)
    progress = told(
        ADMITTED, assigned(), started(), TaskCancelled(**ID, attempt=1, settlements=USED), used(1, 500),
        finished(outcome="cancelled", output=output),
    )  # fmt: skip
    [attempt] = progress.attempts
    assert (attempt.outcome, attempt.output, attempt.usage.vcpu_ms) == ("cancelled", output, 500)


def test_a_stale_runner_changes_nothing_of_its_successor() -> None:
    result = Result(commit="c0ffee")
    before = told(ADMITTED, assigned(), started(), *lost(), assigned(2))
    after = told(ADMITTED, assigned(), started(), *lost(), assigned(2), started(), finished(result=result))
    assert (after.state, after.attempt, after.exit_code) == ("assigned", 2, None)
    assert after.attempts[0].outcome == "lost"
    assert after.attempts[0].result is None
    assert after.attempts[1] == before.attempts[1]


def test_the_first_start_counts_as_the_start() -> None:
    progress = told(ADMITTED, assigned(), started(), *lost(), assigned(2), started(2))
    assert progress.started_at == "t4"
    assert [a.started_at for a in progress.attempts] == ["t4", "t8"]


def test_a_declined_assignment_never_began() -> None:
    declined = AssignmentDeclined(**says(), reason="no_slot")
    assert told(ADMITTED, assigned(), declined).attempts == ()


def test_usage_is_the_highest_sample_of_each_attempt_and_their_sum() -> None:
    progress = told(
        ADMITTED, assigned(), started(), used(2, 200), used(1, 100), used(2, 200), *lost(),
        assigned(2), started(2), used(1, 50, attempt=2),
    )  # fmt: skip
    total = total_usage(progress.attempts)
    assert total.vcpu_ms == 250
    assert [use.quantities for use in total.model_use] == [{"input": 250}]


def test_a_task_is_settled_when_nobody_has_anything_more_to_say() -> None:
    cancelled = TaskCancelled(**ID, attempt=1, settlements=USED)
    assert not told(ADMITTED, assigned(), started(), finished()).settled
    assert not told(ADMITTED, assigned(), started(), cancelled).settled
    assert told(ADMITTED, assigned(), started(), cancelled, finished(outcome="cancelled")).settled
    assert told(ADMITTED, cancelled).settled
    assert told(ADMITTED, assigned(), cancelled).settled
    assert told(
        ADMITTED, assigned(), started(), lost()[0], TaskFailed(**ID, settlements=USED, reason="lost")
    ).settled


def test_the_position_of_the_last_change_is_that_of_the_state() -> None:
    assert told(ADMITTED, assigned(), started(), used(1, 1), used(2, 2)).changed == 4


def asks(request: str, attempt: int = 1) -> PermissionRequested:
    return PermissionRequested(**says(attempt), request=request, tool="Bash", input=SEALED)


@pytest.mark.parametrize(
    ("events", "waits_for"),
    [
        ([asks("1-1"), asks("1-2")], ["1-1", "1-2"]),
        ([asks("1-1"), PermissionAnswered(**ID, user="user_1", request="1-1", decision="deny")], []),
        ([asks("1-1"), PermissionWithdrawn(**says(), request="1-1")], []),
        ([asks("1-1"), finished()], []),
        ([asks("1-1"), *lost()], []),
        ([asks("1-1"), *lost(), assigned(2), started(2)], []),
        ([*lost(), assigned(2), started(2), asks("1-1"), asks("2-1", attempt=2)], ["2-1"]),
        ([asks("1-1"), SUCCEEDED], []),
    ],
)
def test_a_task_waits_for_what_its_current_attempt_asks(events: list[Event], waits_for: list[str]) -> None:
    progress = told(ADMITTED, assigned(), started(), *events)
    assert [asked.request for asked in progress.permissions] == waits_for
