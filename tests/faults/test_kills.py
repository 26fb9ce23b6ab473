"""`kill -9` of anything, while a task runs: it ends, exactly once, and the log holds together."""

import contextlib
from collections.abc import Iterator

import psutil
import pytest

from product import Product, product
from servers import until

TERMINAL = {"TaskSucceeded", "TaskFailed", "TaskCancelled", "TaskTimedOut"}
LEASES = {"RCLAUDE_SCHEDULER_LEASE_S": "5", "RCLAUDE_RUNNER_LEASE_S": "5"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Product]:
    with product(LEASES) as one:
        yield one


def running(stack: Product, *args: str) -> str:
    """A task that has begun, and goes on when it is woken."""
    task = stack.submit("echo begun; sleep 600; echo finished", *args)
    until(lambda: "begun" in stack.output(task), "the first line of output", 60, pause=0.1)
    return task


def ended_once(stack: Product, task: str) -> list[str]:
    """Wait for the task's end; the scheduler's words about it."""
    state = stack.ended_once_woken(task)["state"]
    assert state == "succeeded"
    said = [e["type"] for e in stack.events("--subject", "ev.scheduler.>") if e["task"] == task]
    assert len(TERMINAL & set(said)) == 1
    assert sum(kind in TERMINAL for kind in said) == 1
    stack.verified()
    return said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("role", ["nats", "postgres"])
def test_a_server_is_killed_and_the_task_goes_on(stack: Product, role: str) -> None:
    task = running(stack)
    before = stack.pids()[role]
    stack.kill(role)
    until(lambda: stack.stack_file()["pids"].get(role, before) != before, f"another {role}")
    said = ended_once(stack, task)
    assert said.count("TaskAssigned") == 1, "the sandbox never noticed"


@pytest.mark.timeout(300)
def test_the_services_are_killed_and_the_task_is_tried_again(stack: Product) -> None:
    task = running(stack)
    [left] = [folder.resolve(strict=True) for folder in stack.home.glob("**/sockets")]
    stack.kill("services")
    said = ended_once(stack, task)
    assert not left.exists()
    assert said.count("TaskAssigned") == 2
    assert "RunnerLost" in said


@pytest.mark.timeout(300)
def test_the_worker_is_killed_and_the_task_is_tried_again(stack: Product) -> None:
    task = running(stack)
    stack.kill("workers")
    assert ended_once(stack, task).count("TaskAssigned") == 2


@pytest.mark.timeout(300)
def test_the_command_of_an_agent_is_killed_and_the_task_has_failed(stack: Product) -> None:
    task = running(stack)
    for pid in stack.pids()["workers"]:
        insides = psutil.Process(pid).children(recursive=True)
        parent = insides[-1].parent()
        assert parent is not None
        parent.suspend()  # else it goes on with its next command, and may be done with it in time
        for inside in reversed(insides):
            with contextlib.suppress(psutil.NoSuchProcess):  # it went with the one before
                inside.kill()
    assert stack.ended(task)["state"] == "failed"
    said = [e["type"] for e in stack.events("--subject", "ev.scheduler.>") if e["task"] == task]
    assert said.count("TaskAssigned") == 1
    stack.verified()


@pytest.mark.timeout(300)
def test_the_whole_stack_is_killed_and_brought_up_again(stack: Product) -> None:
    task = running(stack)
    pids = stack.pids()
    stack.kill("stack")
    flat = [pids["nats"], pids["postgres"], pids["services"], *pids["workers"]]
    until(lambda: not any(psutil.pid_exists(pid) for pid in flat), "the end of everything", 60)
    assert stack.run("status").code == 4
    stack.ok("up", "--detach")
    assert ended_once(stack, task).count("TaskAssigned") == 2


def at(stack: Product, task: str) -> tuple[str, int]:
    shown = stack.task(task)
    return shown["state"], shown["attempt"]


@pytest.mark.timeout(300)
def test_a_sandbox_that_is_lost_every_time_fails_the_task_after_its_attempts(stack: Product) -> None:
    task = stack.submit("echo begun; sleep 600", "--max-attempts", "2")
    for attempt in (1, 2):

        def tried(n: int = attempt) -> bool:
            return at(stack, task) == ("running", n)

        until(tried, f"attempt {attempt}", 60, pause=0.1)
        until(lambda: bool(stack.pids()["workers"]), "a worker", pause=0.1)
        stack.kill("workers")
    ended = stack.ended(task)
    assert (ended["state"], ended["attempt"]) == ("failed", 2)
    stack.verified()


@pytest.mark.timeout(300)
def test_a_command_that_would_end_its_own_worker_does_not_reach_it(stack: Product) -> None:
    task = stack.submit("kill -9 1 $PPID; cat /proc/1/environ /proc/1/mem; gdb -batch -p 1; echo $PPID")
    assert stack.ended(task)["state"] == "succeeded"
    said = stack.output(task)
    assert said.splitlines()[-2] == "1"
    assert "RCLAUDE_WORKER_TOKEN" not in said


@pytest.mark.timeout(300)
def test_taking_the_stack_down_gives_back_what_runs_and_costs_no_attempt(stack: Product) -> None:
    task = running(stack, "--max-attempts", "1")
    stack.ok("down")
    stack.ok("up", "--detach")
    said = ended_once(stack, task)
    assert said.count("TaskAssigned") == 2
    assert stack.task(task)["attempt"] == 2
    assert "2 of at most 1" in stack.ok("show", task).out
