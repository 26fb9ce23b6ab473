"""What the doctor says of a stack that runs."""

from product import product
from servers import until


def test_a_task_that_waits_is_named_with_the_reason() -> None:
    with product({"RCLAUDE_RUNNER_SLOTS": "1"}) as stack:
        assert {check["check"]: check["detail"] for check in stack.ok("doctor", "--json").json}[
            "waiting tasks"
        ] == "none"
        first = stack.submit("sleep 600")
        until(lambda: stack.task(first)["state"] == "running", "the first one to run", 30, pause=0.1)
        second = stack.submit("true")
        until(lambda: stack.task(second).get("waiting"), "a reason to wait", 30, pause=0.1)
        [check] = [c for c in stack.ok("doctor", "--json").json if c["check"] == "waiting tasks"]
        assert check["level"] == "note"
        assert check["detail"].startswith(f"{second}: ")
        assert first not in check["detail"]
        stack.ok("cancel", first)
        assert stack.ended(second)["state"] == "succeeded"
