"""Why a task waits: given a log, when it is asked, then the reason that a person can act on."""

from typing import Any

import pytest

from remote_claude.contracts.waiting import Waiting
from remote_claude.scheduler.domain.waiting import explain, too_large
from scheduling import FREE, ORG, RUNNER, World, drained, given, joined, on_plan, started, submitted

TASK = "task_1"


def waiting(
    *events: Any, seen: frozenset[str] | None = None, tasks: tuple[str, ...] = (TASK,)
) -> list[Waiting]:
    """Why tasks wait once everything that can be decided of these events is decided."""
    world: World = given(*events).when().recorded()
    runners = world.state.runners
    renewing = frozenset(runners) if seen is None else seen
    return list(explain(world.state.organisations[ORG], tasks, runners, renewing))


@pytest.mark.parametrize(
    ("events", "code", "words"),
    [
        ([on_plan(), submitted()], "no_runner", "rclaude up"),
        ([on_plan(), joined(), drained(), submitted()], "no_runner", "No runner is there"),
        ([on_plan(), joined(), submitted(agent="claude")], "no_fitting_runner", "offers the agent 'claude'"),
        ([on_plan(), joined(), submitted(provider="docker")], "no_fitting_runner", "provider 'docker'"),
        ([on_plan(), joined(), submitted(image="debian")], "no_fitting_runner", "capable of image"),
        ([on_plan(), joined(vcpu_millis=1000), submitted()], "no_fitting_runner", "2 vCPU and 4096 MiB"),
        ([on_plan(), joined(slots=1), submitted("task_0"), submitted()], "slots_busy", "All 1 slots"),
        (
            [on_plan("free", FREE.model_copy(update={"concurrency": 1})), joined(), submitted("task_0"), submitted()],
            "concurrency",
            "plan free allows 1 at one time",
        ),
    ],
)  # fmt: skip
def test_the_reason_names_the_limit_and_what_helps(events: list[Any], code: str, words: str) -> None:
    [reason] = waiting(*events)
    assert (reason.task, reason.code, reason.place) == (TASK, code, 1)
    assert words in reason.detail


def test_a_plan_that_no_runner_has_the_size_for_is_named() -> None:
    small, large = (
        on_plan("free", FREE),
        on_plan("pro", FREE.model_copy(update={"vcpu_millis": 4000}), "org_2"),
    )
    world = given(small, large, joined(vcpu_millis=2000))
    [(plan, why)] = too_large(world.state)
    assert plan == "pro"
    assert "4 vCPU and 4096 MiB" in why
    assert not list(too_large(given(large).state))


def test_runners_that_do_not_renew_their_lease_are_named() -> None:
    world = given(on_plan(), joined(), submitted()).when(gone={RUNNER}).recorded()
    [reason] = explain(world.state.organisations[ORG], (TASK,), world.state.runners, frozenset())
    assert reason.code == "runner_silent"


def test_a_task_that_has_not_been_decided_about_says_so() -> None:
    world = given(on_plan(), submitted())
    [reason] = explain(world.state.organisations[ORG], (TASK,), {}, frozenset())
    assert (reason.code, reason.place) == ("undecided", None)


def test_the_place_is_the_order_in_which_tasks_get_a_slot() -> None:
    tasks = [submitted("task_a"), submitted("task_b", priority=5), submitted("task_c", agent="claude")]
    reasons = waiting(on_plan(), *tasks, tasks=("task_a", "task_b", "task_c"))
    assert [(reason.task, reason.place) for reason in reasons] == [
        ("task_a", 2),
        ("task_b", 1),
        ("task_c", 3),
    ]


def test_a_task_behind_others_says_how_many_go_before_it() -> None:
    world = given(on_plan(), *(submitted(f"task_{n}") for n in range(3))).when().recorded().record(joined())
    names = ("task_0", "task_2")
    first, third = explain(world.state.organisations[ORG], names, world.state.runners, frozenset({RUNNER}))
    assert (first.code, third.code) == ("next", "queued")
    assert third.detail.startswith("2 of the organisation's tasks")


def test_a_task_that_runs_or_is_unknown_has_no_reason_to_wait() -> None:
    world = given(on_plan(), joined(), submitted()).when().recorded().record(started())
    assert (
        list(explain(world.state.organisations[ORG], (TASK, "task_9"), world.state.runners, frozenset()))
        == []
    )
