"""The shell agent in a real worker process, over a real socket."""

from __future__ import annotations

from workers import Stored, task, worker


async def test_command_succeeds_and_its_output_arrives_in_order() -> None:
    stored = Stored()
    async with worker(task("echo one; echo two >&2; echo three"), stored) as one:
        result = await one.result()
        assert await one.exit_code() == 0
    assert (result.outcome, result.exit_code, result.reason) == ("succeeded", 0, None)
    assert stored.text() == "one\nthree\n"
    assert stored.text("stderr") == "two\n"
    assert [frame["phase"] for frame in stored.of("status")] == ["preparing", "running"]
    assert stored.frames[-1]["kind"] == "result"


async def test_nonzero_exit_has_failed() -> None:
    stored = Stored()
    async with worker(task("echo no; exit 7"), stored) as one:
        result = await one.result()
    assert (result.outcome, result.exit_code, result.reason) == ("failed", 7, "agent_exited")
    assert stored.of("result")[0]["outcome"] == "failed"
