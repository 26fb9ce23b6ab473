"""From prompt to commit to bill."""

import socket
from pathlib import Path

from product import Product, git

FIX = "sed -i 's/a - b/a + b/' calc.py && echo mended"


def test_a_task_comes_back_as_a_commit_and_a_bill(stack: Product, repo: Path) -> None:
    before = git(repo, "rev-parse", "HEAD").strip()
    done = stack.ok("run", "--agent", "shell", "--json", FIX, cwd=repo)
    assert f"repository: {repo}" in done.err.splitlines()[0]
    task = done.json
    assert task["state"] == "succeeded"
    assert task["result"]["base"] == before
    assert git(repo, "status", "--porcelain") == ""
    assert git(repo, "rev-parse", "HEAD").strip() == before

    patch = stack.ok("diff", task["id"]).out
    assert "-    return a - b" in patch
    assert "+    return a + b" in patch

    stack.ok("apply", task["id"], cwd=repo)
    assert "a + b" in (repo / "calc.py").read_text()
    assert git(repo, "log", "-1", "--format=%an <%ae>").strip() == "Ada <ada@example.com>"
    assert task["id"] in git(repo, "log", "-1", "--format=%B")

    bill = stack.ok("bill", task["id"], "--json").json
    assert bill["total_nano_usd"] == sum(line["amount_nano_usd"] for line in bill["lines"]) > 0
    assert task["cost"]["total_nano_usd"] == bill["total_nano_usd"]
    events = {event["id"]: event for event in stack.events()}
    for evidence in bill["events"]:
        event = events[evidence["event_id"]]
        assert event["position"] == evidence["position"]
        assert event["task"] == task["id"]


def test_what_is_uncommitted_is_sent_and_stays_uncommitted(stack: Product, repo: Path) -> None:
    (repo / "README.md").write_text("hello\nedited\n")
    (repo / "new.txt").write_text("untracked\n")
    task = stack.ok("run", "--agent", "shell", "--json", f"cat README.md new.txt && {FIX}", cwd=repo).json
    assert "edited" in stack.ok("logs", task["id"]).out
    stack.ok("apply", task["id"], cwd=repo)
    assert git(repo, "show", "--name-only", "--format=", "HEAD").split() == ["calc.py"]
    assert git(repo, "status", "--porcelain").splitlines() == [" M README.md", "?? new.txt"]


def test_a_conflict_is_refused_and_nothing_is_lost(stack: Product, repo: Path) -> None:
    task = stack.ok("run", "--agent", "shell", "--json", FIX, cwd=repo).json
    (repo / "calc.py").write_text("def add(a, b):\n    return sum((a, b))\n")
    refused = stack.run("apply", task["id"], "--json", cwd=repo)
    assert refused.code == 2
    assert refused.json["error"]["files"] == ["calc.py"]
    assert "sum((a, b))" in (repo / "calc.py").read_text()


def test_no_commit_leaves_the_change_staged(stack: Product, repo: Path) -> None:
    task = stack.ok("run", "--agent", "shell", "--json", FIX, cwd=repo).json
    stack.ok("apply", task["id"], "--no-commit", cwd=repo)
    assert git(repo, "status", "--porcelain").splitlines() == ["M  calc.py"]


def test_an_agent_that_exits_non_zero_has_failed_and_is_not_tried_again(stack: Product) -> None:
    done = stack.run("run", "--agent", "shell", "--no-repo", "--json", "echo oh no; exit 7")
    assert done.code == 1
    assert (done.json["state"], done.json["exit_code"], done.json["attempt"]) == ("failed", 7, 1)


def test_a_task_that_takes_too_long_is_ended(stack: Product) -> None:
    done = stack.run("run", "--agent", "shell", "--no-repo", "--json", "--timeout", "2", "sleep 600")
    assert done.code == 124
    assert done.json["state"] == "timed_out"


def test_a_cancelled_task_ends_at_once_and_says_so(stack: Product) -> None:
    task = stack.submit("echo begun; sleep 600")
    stack.ok("cancel", task)
    assert stack.ended(task)["state"] == "cancelled"
    assert stack.run("cancel", task).code == 0, "asking again changes nothing"


def test_a_task_that_has_ended_cannot_be_cancelled(stack: Product) -> None:
    task = stack.ok("run", "--agent", "shell", "--no-repo", "--json", "true").json["id"]
    assert stack.run("cancel", task).code == 2


def test_the_prompt_may_come_from_standard_input(stack: Product) -> None:
    done = stack.ok("run", "--agent", "shell", "--no-repo", "-", stdin="echo 'grüße'\n".encode())
    assert "grüße" in done.out


def test_detach_returns_what_names_the_task(stack: Product) -> None:
    done = stack.ok("run", "--agent", "noop", "--no-repo", "--detach", "--json", "nothing")
    assert set(done.json) == {"id", "state", "position"}
    assert stack.ended(done.json["id"])["state"] == "succeeded"


def test_broken_utf8_and_terminal_escapes_in_output_do_no_harm(stack: Product) -> None:
    done = stack.ok("run", "--agent", "shell", "--no-repo", r"printf 'a\377b\033]0;owned\007\033[2Jc\n'")
    assert "\x1b" not in done.out
    assert "\x07" not in done.out
    assert "a\ufffdb" in done.out
    task = stack.ok("list", "--limit", "1", "--json").json["tasks"][0]["id"]
    frames = stack.ok("logs", task, "--json").lines
    assert any("\x1b]0;owned" in frame.get("text", "") for frame in frames)


def test_output_is_whole_and_in_order(stack: Product) -> None:
    task = stack.ok("run", "--agent", "shell", "--no-repo", "--json", "seq 1 20000").json
    frames = stack.ok("logs", task["id"], "--json").lines
    text = "".join(frame["text"] for frame in frames if frame["kind"] == "output")
    assert text.split() == [str(n) for n in range(1, 20001)]
    assert task["output"]["frames"] == len(frames)


def test_a_task_cannot_reach_the_network_or_the_owners_files(stack: Product) -> None:
    url = stack.status()["url"]
    port = url.rsplit(":", 1)[1]
    command = f"cat {stack.home}/api_key; exec 3<>/dev/tcp/127.0.0.1/{port} && echo REACHED"
    done = stack.run("run", "--agent", "shell", "--no-repo", "--json", command)
    assert done.json["state"] == "failed"
    said = stack.ok("logs", done.json["id"]).out
    assert "REACHED" not in said
    assert "rck_" not in said


def test_a_task_whose_repository_is_still_being_fetched_can_be_cancelled(stack: Product) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection, and never answers
        url = f"http://127.0.0.1:{server.getsockname()[1]}/nobody/nothing.git"
        args = ("run", "--agent", "shell", "--detach", "--json", "--repo", url, "true")
        task = stack.ok(*args).json["id"]
        with server.accept()[0]:
            stack.ok("cancel", task)
            ended = stack.ended(task)
    assert (ended["state"], ended["started_at"]) == ("cancelled", None)


def test_what_does_not_come_back_is_named_in_the_task(stack: Product, repo: Path) -> None:
    (repo / ".gitignore").write_text("build/\n")
    command = "mkdir build && echo x > build/out.js && echo new > kept.txt"
    task = stack.ok("run", "--agent", "shell", "--json", command, cwd=repo).json
    assert task["detail"] == "not in the result: build/ (ignored by Git)"
    task = stack.ok("run", "--agent", "shell", "--json", "true", cwd=repo).json
    assert task["detail"] == "the agent changed no file that Git tracks"


def test_a_failure_carries_its_reason(stack: Product) -> None:
    task = stack.run("run", "--agent", "shell", "--no-repo", "--json", "exit 7").json
    assert (task["reason"], task["detail"]) == ("agent_exited", "exit 7")
    address = "https://127.0.0.1:9/made/up.git"
    task = stack.run("run", "--agent", "shell", "--repo", address, "--json", "true").json
    assert address in task["detail"]


def test_wait_and_logs_end_with_the_exit_code_of_the_task(stack: Product) -> None:
    failed, good = stack.submit("echo out; exit 3", "--label", "team=a b"), stack.submit("true")
    assert stack.run("wait", failed).code == 1
    assert "exit 3" in stack.run("wait", failed).out
    assert stack.run("wait", good).code == 0
    logs = stack.run("logs", failed, "--exit-code")
    assert (logs.code, logs.out) == (1, "out\n")
    assert stack.run("logs", failed).code == 0
    assert stack.run("wait", "--timeout", "1", stack.submit("sleep 30")).code == 124

    assert "labels  team=a b" in stack.ok("show", failed).out
    found = stack.ok("list", "--json", "--label", "team=a b", "--agent", "shell", "--state", "failed").json[
        "tasks"
    ]
    assert [task["id"] for task in found] == [failed]
    assert stack.ok("list", "--json", "--label", "team=other").json["tasks"] == []
