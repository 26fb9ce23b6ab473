"""A conversation of the real Claude Code goes to a task with its working tree, and comes back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import claude_agent_sdk
import pytest

from messages_api import MessagesApi, text, tool
from product import Product

CLAUDE = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"


def claude(stack: Product, repo: Path, *args: str) -> Any:
    """Claude Code on this machine, as its user runs it."""
    done = subprocess.run(
        [str(CLAUDE), "-p", *args, "--output-format", "json"],
        cwd=repo,
        env=stack.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(300)
def test_a_conversation_goes_to_the_cloud_and_back(
    repo: Path, tmp_path: Path, with_model: Product, model: MessagesApi
) -> None:
    turns = (
        [text("The word is walnut.")],
        [text("I write it."), tool("Write", file_path="/workspace/word.txt", content="walnut\n")],
        [text("The word is written.")],
        [text("All is done.")],
    )
    model.play(*turns)
    own_settings = {"CLAUDE_CONFIG_DIR": str(tmp_path / "claude")}
    one = Product(with_model.home, {**with_model.environment, **own_settings})
    assert one.run("push", cwd=repo).code == 2, "there is no session yet"
    session = claude(one, repo, "choose a word")["session_id"]
    (repo / "dirty.txt").write_text("not committed\n")
    pushed = one.ok("push", "write the word into a file", "--json", cwd=repo).json
    assert pushed["state"] == "succeeded"
    asked = next(body for r in model.requests if "write the word" in (body := str(r["body"])))
    assert "choose a word" in asked
    assert "The word is walnut." in asked

    pulled = one.ok("pull", pushed["id"], "--json", cwd=repo).json
    assert (pulled["session"], pulled["files"]) == (session, ["word.txt"])
    assert (repo / "word.txt").read_text() == "walnut\n"
    assert (repo / "dirty.txt").read_text() == "not committed\n"

    assert claude(one, repo, "is all done?", "--resume", session)["session_id"] == session
    told = str(model.requests[-1]["body"])
    assert "choose a word" in told
    assert "The word is written." in told
    one.verified()
