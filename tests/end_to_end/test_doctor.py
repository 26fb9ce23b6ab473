"""What the doctor and `up` say of a stack that runs."""

from product import product
from servers import until


def test_a_task_that_waits_is_named_with_the_reason() -> None:
    with product({"RCLAUDE_RUNNER_SLOTS": "1"}) as stack:
        assert {check["check"]: check["detail"] for check in stack.ok("doctor", "--json").json}[
            "waiting tasks"
        ] == "none"
        first = stack.submit("sleep 600")
        until(lambda: stack.task(first)["state"] == "running", "the first one to run", 60, pause=0.1)
        second = stack.submit("true")
        until(lambda: stack.task(second).get("waiting"), "a reason to wait", 60, pause=0.1)
        [check] = [c for c in stack.ok("doctor", "--json").json if c["check"] == "waiting tasks"]
        assert check["level"] == "note"
        assert check["detail"].startswith(f"{second}: ")
        assert first not in check["detail"]
        stack.ok("cancel", first)
        assert stack.ended(second)["state"] == "succeeded"


def test_a_plan_that_is_too_large_for_this_machine_is_named() -> None:
    with product({"RCLAUDE_RUNNER_VCPU_MILLIS": "2000"}) as stack:
        org = stack.stack_file()["org"]
        note = stack.admin("plan", "set", org, "pro")
        assert note.code == 0
        assert (
            "gives each task 4 vCPU and 8192 MiB, and no runner has so much for one: the largest has 2"
            in note.err
        )
        until(
            lambda: any(check["check"] == "plan pro" for check in stack.ok("doctor", "--json").json),
            "the doctor to name the plan",
            30,
        )
        stack.ok("down")
        assert "plan pro: Its plan gives each task 4 vCPU" in stack.ok("up", "--detach").err
        assert not stack.admin("plan", "set", org, "self-hosted").err
