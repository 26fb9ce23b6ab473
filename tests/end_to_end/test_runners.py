"""Runners as their operator sees them: what each holds, drained and undrained; and an attempt that is silent."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gate import Gate
from product import Product, product
from servers import until


@pytest.mark.timeout(300)
def test_a_drained_runner_finishes_what_it_has_and_a_silent_attempt_is_ended() -> None:
    with product({"RCLAUDE_RUNNER_SILENT_AFTER_S": "4"}) as one:
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


def test_a_machine_of_ones_own_joins_runs_a_task_and_leaves(
    stack: Product, repo: Path, tmp_path: Path
) -> None:
    """Another process with a home of its own: it holds an API key with the scope `runners`, and nothing of the stack."""
    key = stack.ok("key", "create", "box", "--scope", "runners", "--json").json["secret"]
    url = stack.stack_file()["url"]
    box = Product(tmp_path / "box", {"RCLAUDE_API_KEY": key})
    process = subprocess.Popen(
        box.command("runner", "join", url, "--name", "box", "--label", "os=debian"), env=box.env
    )
    try:
        until(
            lambda: (
                [(one["name"], one["state"]) for one in stack.ok("runner", "list", "--json").json]
                == [("box", "joined")]
            ),
            "the machine joins",
            60,
            pause=0.3,
        )
        done = stack.ok(
            "run",
            "--provider",
            "machine",
            "--agent",
            "shell",
            "--json",
            "cat README.md; echo fixed > b.txt",
            cwd=repo,
        ).json
        assert (done["state"], stack.ok("diff", done["id"], cwd=repo).out.count("+fixed")) == ("succeeded", 1)
        bill = stack.ok("bill", done["id"], "--json").json
        assert {line["meter"] for line in bill["lines"]} & {"vcpu", "gib"} == set(), (
            "own compute is not charged"
        )
        kept = {path.name for path in box.home.rglob("*") if path.is_file()}
        assert not kept & {"kek", "stack.json", "config.json"}
        assert "rck_" not in "".join(path.read_text(errors="replace") for path in box.home.rglob("*.json"))
        refused = Product(
            tmp_path / "other",
            {"RCLAUDE_API_KEY": stack.ok("key", "create", "x", "--scope", "tasks", "--json").json["secret"]},
        )
        assert refused.run("runner", "join", url, "--name", "other").code == 3
        assert box.ok("runner", "leave").out == "left\n"
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_joined_machine_survives_a_lost_gateway_and_not_a_revoked_key(
    stack: Product, tmp_path: Path
) -> None:
    made = stack.ok("key", "create", "desktop", "--scope", "runners", "--json").json
    gate = Gate(int(stack.stack_file()["url"].rpartition(":")[2]))
    box = Product(tmp_path / "desktop", {"RCLAUDE_API_KEY": made["secret"]})
    command = box.command("runner", "join", f"http://127.0.0.1:{gate.port}", "--name", "desktop")
    process = subprocess.Popen(command, env=box.env)

    def state() -> str | None:
        found = {one["name"]: one["state"] for one in stack.ok("runner", "list", "--json").json}
        return found.get("desktop")

    try:
        until(lambda: state() == "joined", "the machine joins", 60, pause=0.3)
        task = stack.submit("echo begun; sleep 8; echo over", "--provider", "machine")
        until(lambda: "begun" in stack.output(task), "the task's beginning", 60, pause=0.2)
        gate.shut()
        until(lambda: state() == "away", "the machine is away", 30, pause=0.2)
        gate.open()
        until(lambda: state() == "joined", "the machine is back", 60, pause=0.2)
        ended = stack.ended(task)
        assert (ended["state"], len(ended["attempts"])) == ("succeeded", 1), ended
        assert "over" in stack.output(task)
        stack.ok("key", "revoke", made["id"])
        assert process.wait(60) == 3
        until(lambda: state() is None, "the machine is gone", 60, pause=0.3)
    finally:
        gate.close()
        process.kill()
        process.wait()
