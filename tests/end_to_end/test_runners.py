"""Runners as their operator sees them: what each holds, drained and undrained; and an attempt that is silent."""

from __future__ import annotations

import pytest

from product import product


@pytest.mark.timeout(300)
def test_a_drained_runner_finishes_what_it_has_and_a_silent_attempt_is_ended() -> None:
    with product({"RCLAUDE_RUNNER_SILENT_AFTER_S": "8"}) as one:
        submit = ("run", "--agent", "shell", "--no-repo", "--detach", "--json")
        silent = one.ok(*submit, "echo begun; sleep 200").json["id"]
        [runner] = [
            line.split()[0] for line in one.admin("runners", "list").out.splitlines() if line[0] != " "
        ]
        assert "finishes what it has" in one.admin("runners", "drain", runner).out
        assert "drained" in one.admin("runners", "list").out
        waiting = one.ok(*submit, "true").json["id"]
        ended = one.ended(silent)
        assert (ended["state"], ended["reason"]) == ("failed", "silent"), ended
        assert "silent" in ended["detail"]
        assert one.task(waiting)["state"] == "queued"
        one.admin("runners", "undrain", runner)
        assert one.ended(waiting)["state"] == "succeeded"
        one.verified()
