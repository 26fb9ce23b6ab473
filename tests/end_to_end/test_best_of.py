"""Several tasks try the same; a judge decides, and one of them is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from guides import follow
from messages_api import MessagesApi, text, tool
from product import Product


def test_candidates_are_judged_compared_and_one_is_applied(stack: Product, repo: Path) -> None:
    done = stack.ok(
        *("run", "--best-of", "3", "--agents", "noop,shell,noop", "--judge", "grep -q made made.txt"),
        *("--json", "echo made > made.txt"),
        cwd=repo,
    ).json
    best, *others = done["candidates"]
    assert (done["winner"], best["candidate"], best["judge"]["exit_code"], best["lines"]) == (2, 2, 0, 1)
    assert {one["judge"]["state"] for one in others} == {"failed"}
    bills = [
        stack.ok("bill", id, "--json").json["total_nano_usd"]
        for one in done["candidates"]
        for id in (one["id"], one["judge"]["id"])
    ]
    assert done["total_nano_usd"] == sum(bills)

    shown = stack.ok("compare", best["id"])
    assert [line.split()[0] for line in shown.out.splitlines()[1:4]] == ["2", "1", "3"]
    assert stack.ok("compare", done["group"], "--json").json == done
    assert "+made" in stack.ok("diff", done["group"], "--candidate", "2").out
    stack.ok("apply", cwd=repo)
    assert (repo / "made.txt").read_text() == "made\n"
    assert stack.run("diff", done["group"], "--candidate", "4").code == 2


def test_none_passes(stack: Product, repo: Path) -> None:
    done = stack.run(
        "run", "--best-of", "2", "--agent", "shell", "--judge", "false", "--json", "true", cwd=repo
    )
    assert (done.code, done.json["winner"]) == (1, None)
    shown = stack.ok("show", "--json").json["id"]
    assert shown in [one["id"] for one in done.json["candidates"]], "no judge's task is the newest"
    refused = stack.run("apply", cwd=repo)
    assert (refused.code, "none of them passes" in refused.err) == (2, True), refused.err
    assert "(judges candidate 1) false" in stack.ok("list").out


@pytest.mark.timeout(200)
def test_the_first_that_passes_stops_the_others(repo: Path, with_model: Product, model: MessagesApi) -> None:
    model.play([text("I wait."), tool("Bash", command="sleep 600")])
    done = with_model.ok(
        *("run", "--best-of", "2", "--agents", "claude,shell", "--until", "--judge", "test -e made.txt"),
        *("--json", "echo made > made.txt"),
        cwd=repo,
    ).json
    states = {one["agent"]: one["state"] for one in done["candidates"]}
    assert (done["winner"], states) == (2, {"shell": "succeeded", "claude": "cancelled"})
    with_model.verified()


def test_the_commands_of_the_guide_work(stack: Product, repo: Path) -> None:
    follow(stack, "best-of.md", repo)
    assert (repo / "notes.txt").read_text() == "notes\n"
