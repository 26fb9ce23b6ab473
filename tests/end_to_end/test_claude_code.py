"""The real Claude Code, in a real sandbox, against a local Messages API."""

import json
from pathlib import Path

import pytest

from messages_api import MessagesApi, text, tool
from product import Product, git

KEY = "sk-ant-made-up-for-this-test"


@pytest.mark.timeout(300)
def test_claude_code_edits_a_repository_and_is_billed_by_the_proxy(
    repo: Path, with_model: Product, model: MessagesApi
) -> None:
    turns = (
        [
            text("I'll fix the addition."),
            tool("Write", file_path="/workspace/calc.py", content="def add(a, b):\n    return a + b\n"),
        ],
        [
            tool(
                "Bash",
                command="python3 -c 'from calc import add; print(add(2, 3))'; env",
                description="try it",
            )
        ],
        [text("Done: add adds.")],
    )
    model.play(*turns)
    task = with_model.ok("run", "--json", "fix add()", cwd=repo).json
    assert task["state"] == "succeeded", task
    assert task["agent"] == "claude"

    frames = with_model.ok("logs", task["id"], "--json").lines
    kinds = [frame["kind"] for frame in frames]
    assert {"text", "tool_call", "tool_result", "usage", "result"} <= set(kinds)
    assert [f["name"] for f in frames if f["kind"] == "tool_call"] == ["Write", "Bash"]
    tried = next(f["content"] for f in frames if f["kind"] == "tool_result" and "5" in f["content"])
    assert KEY not in tried, "the key is not in the sandbox"
    assert all(request["headers"]["x-api-key"] == KEY for request in model.requests), "and it is at the proxy"

    with_model.ok("apply", task["id"], cwd=repo)
    assert "a + b" in (repo / "calc.py").read_text()
    assert "claude" in git(repo, "log", "-1", "--format=%B")

    assert sum(use["quantities"]["output"] for use in task["usage"]["model_use"]) > 0
    assert task["usage"]["model_nano_usd"] > 0
    lines = {line["meter"]: line for line in with_model.ok("bill", task["id"], "--json").json["lines"]}
    assert lines["model_nano_usd"]["amount_nano_usd"] == task["usage"]["model_nano_usd"]
    assert KEY not in str(with_model.events())


@pytest.mark.timeout(300)
def test_a_task_that_the_model_refuses_says_so_in_the_models_words(
    repo: Path, with_model: Product, model: MessagesApi
) -> None:
    (repo / ".claude").mkdir()
    settings = {"env": {"ANTHROPIC_BASE_URL": "https://gateway.corp.example"}}
    (repo / ".claude" / "settings.json").write_text(json.dumps(settings))
    model.play(statuses=[400] * 20)
    with_model.run("run", "fix add()", cwd=repo)
    task = with_model.ok("show", "--json").json
    assert (task["state"], task["reason"]) == ("failed", "model_call_refused")
    assert task["detail"] == "The model's service answered 400: as the script says."
    assert task["detail"] in with_model.ok("show").out
    said = with_model.ok("logs", task["id"]).out
    assert "env.ANTHROPIC_BASE_URL of the repository is not used here" in said


@pytest.mark.timeout(300)
def test_a_task_whose_budget_is_spent_ends_with_what_it_has_done(
    repo: Path, with_model: Product, model: MessagesApi
) -> None:
    turns = (
        [tool("Write", file_path="/workspace/calc.py", content="def add(a, b):\n    return a + b\n")],
        [text("This turn is never asked for.")],
    )
    model.play(*turns)
    with_model.run("run", "--budget", "0.0001", "fix add()", cwd=repo)
    task = with_model.ok("show", "--json").json
    assert (task["state"], task["reason"]) == ("failed", "budget_exhausted"), task
    assert "--budget" in task["detail"]
    assert task["usage"]["model_nano_usd"] >= 100_000
    assert len([r for r in model.requests if "calc.py" in str(r["body"])]) == 0
    with_model.ok("apply", task["id"], cwd=repo)
    assert "a + b" in (repo / "calc.py").read_text()
