"""A task that has ended goes on as a new one: the files, the conversation and the branch are those that it left."""

from __future__ import annotations

from pathlib import Path

import pytest

from messages_api import MessagesApi, text, tool
from product import Product


@pytest.mark.timeout(300)
def test_claude_goes_on_in_the_same_conversation_and_the_same_files(
    repo: Path, with_model: Product, model: MessagesApi
) -> None:
    turns = (
        [text("I write one."), tool("Write", file_path="/workspace/one.txt", content="one\n")],
        [text("One is written.")],
        [text("I write two."), tool("Write", file_path="/workspace/two.txt", content="two\n")],
        [text("Both are there.")],
    )
    model.play(*turns)
    first = with_model.ok("run", "--json", "write one", cwd=repo).json["id"]
    follow_up = with_model.ok("resume", first, "--json", "now write two").json
    assert follow_up["state"] == "succeeded"
    asked = str(model.requests[2]["body"])
    assert "One is written." in asked
    assert "now write two" in asked
    assert "continuing after an earlier task" in with_model.ok("logs", follow_up["id"]).out
    changed = with_model.ok("diff", follow_up["id"]).out
    assert "+one" in changed
    assert "+two" in changed
    with_model.ok("apply", first, cwd=repo)
    with_model.ok("apply", follow_up["id"], cwd=repo)
    assert (repo / "one.txt").read_text() + (repo / "two.txt").read_text() == "one\ntwo\n"

    again = with_model.ok("run", "--agent", "shell", "--no-repo", "--detach", "--json", "sleep 60").json["id"]
    assert with_model.run("resume", again).code != 0, "it has not ended"
    with_model.ok("cancel", again)
    with_model.ended(again)
    told = with_model.run("send", again, "more")
    assert f"rclaude resume {again}" in told.err
    with_model.verified()


def test_a_task_that_failed_goes_on_with_its_files(stack: Product, repo: Path) -> None:
    command = "if [ -e made.txt ]; then echo found it; else echo made > made.txt; exit 3; fi"
    failed = stack.run("run", "--agent", "shell", "--json", command, cwd=repo)
    assert failed.json["state"] == "failed"
    resumed = stack.ok("resume", failed.json["id"], "--json").json
    assert resumed["state"] == "succeeded"
    assert "found it" in stack.ok("logs", resumed["id"]).out
    assert "+made" in stack.ok("diff", resumed["id"]).out
