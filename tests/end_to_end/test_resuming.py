"""A task that has ended goes on as a new one: the files, the conversation and the branch are those that it left."""

from __future__ import annotations

from pathlib import Path

import pytest

from messages_api import serving_in_a_thread, text, tool
from product import Product, product

KEY = "sk-ant-made-up-for-this-test"


@pytest.mark.timeout(300)
def test_claude_goes_on_in_the_same_conversation_and_the_same_files(repo: Path) -> None:
    turns = (
        [text("I write one."), tool("Write", file_path="/workspace/one.txt", content="one\n")],
        [text("One is written.")],
        [text("I write two."), tool("Write", file_path="/workspace/two.txt", content="two\n")],
        [text("Both are there.")],
    )
    with (
        serving_in_a_thread(*turns) as api,
        product({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.base_url}) as one,
    ):
        first = one.ok("run", "--json", "write one", cwd=repo).json["id"]
        follow_up = one.ok("resume", first, "--json", "now write two").json
        assert follow_up["state"] == "succeeded"
        asked = str(api.requests[2]["body"])
        assert "One is written." in asked
        assert "now write two" in asked
        assert "continuing after an earlier task" in one.ok("logs", follow_up["id"]).out
        changed = one.ok("diff", follow_up["id"]).out
        assert "+one" in changed
        assert "+two" in changed
        one.ok("apply", first, cwd=repo)
        one.ok("apply", follow_up["id"], cwd=repo)
        assert (repo / "one.txt").read_text() + (repo / "two.txt").read_text() == "one\ntwo\n"

        again = one.ok("run", "--agent", "shell", "--no-repo", "--detach", "--json", "sleep 60").json["id"]
        assert one.run("resume", again).code != 0, "it has not ended"
        one.ok("cancel", again)
        one.ended(again)
        told = one.run("send", again, "more")
        assert f"rclaude resume {again}" in told.err
        one.verified()


def test_a_task_that_failed_goes_on_with_its_files(stack: Product, repo: Path) -> None:
    command = "if [ -e made.txt ]; then echo found it; else echo made > made.txt; exit 3; fi"
    failed = stack.run("run", "--agent", "shell", "--json", command, cwd=repo)
    assert failed.json["state"] == "failed"
    resumed = stack.ok("resume", failed.json["id"], "--json").json
    assert resumed["state"] == "succeeded"
    assert "found it" in stack.ok("logs", resumed["id"]).out
    assert "+made" in stack.ok("diff", resumed["id"]).out
