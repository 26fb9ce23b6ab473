"""Bad input gets a clear error and loses nothing."""

import signal
import subprocess
from pathlib import Path

import pytest

from product import Product


@pytest.mark.parametrize("prompt", ["", "   \n\t "])
def test_an_empty_prompt_is_refused(stack: Product, prompt: str) -> None:
    done = stack.run("run", "--agent", "shell", "--no-repo", prompt)
    assert done.code == 2
    assert "empty" in done.err
    with stack.client() as api:
        answer = api.post("/v1/tasks", json={"prompt": prompt, "agent": "shell"})
    assert answer.status_code == 422
    assert "prompt" in answer.json()["detail"]


def test_a_prompt_of_10_mb_is_refused(stack: Product) -> None:
    done = stack.run("run", "--agent", "shell", "--no-repo", "-", stdin=b"x" * 10_000_000)
    assert done.code == 2
    assert "64 KiB" in done.err
    with stack.client() as api:
        answer = api.post("/v1/tasks", json={"prompt": "x" * 10_000_000, "agent": "shell"})
    assert answer.status_code == 413


def test_a_prompt_that_is_not_utf8_is_refused(stack: Product) -> None:
    done = stack.run("run", "--agent", "shell", "--no-repo", "-", stdin=b"caf\xe9")
    assert done.code == 2
    assert "UTF-8" in done.err
    with stack.client() as api:
        answer = api.post(
            "/v1/tasks",
            content=b'{"prompt": "caf\xe9", "agent": "shell"}',
            headers={"Content-Type": "application/json"},
        )
    assert answer.status_code == 422


def test_a_folder_that_is_no_repository_is_refused(stack: Product, tmp_path: Path) -> None:
    for args in (("--repo", str(tmp_path / "nowhere")), ("--repo", str(tmp_path)), ()):
        done = stack.run("run", "--agent", "shell", *args, "true", cwd=tmp_path)
        assert done.code == 2
        assert done.err.startswith("rclaude: ")


def test_a_remote_repository_that_does_not_exist_fails_the_task_and_costs_nothing(stack: Product) -> None:
    done = stack.run("run", "--agent", "shell", "--repo", "http://127.0.0.1:9/none.git", "--json", "true")
    assert done.code == 1
    assert done.json["state"] == "failed"
    assert done.json["reason"] in ("repository_unreachable", "repository_not_found")
    assert done.json["cost"]["lines"] == []
    assert "127.0.0.1:9" in stack.ok("logs", done.json["id"]).out


def test_a_path_on_the_server_is_refused(stack: Product) -> None:
    with stack.client() as api:
        for url in ("/etc", "file:///etc", "ext::sh -c id", "--upload-pack=id"):
            answer = api.post("/v1/tasks", json={"prompt": "true", "agent": "shell", "repo": {"url": url}})
            assert answer.status_code == 422, url


def test_an_unknown_agent_is_refused_and_the_known_ones_are_named(stack: Product) -> None:
    done = stack.run("run", "--agent", "gpt", "--no-repo", "hello")
    assert done.code == 2
    assert "shell" in done.err


def test_without_a_model_key_claude_says_how_to_set_one(stack: Product) -> None:
    for command in (("run", "--no-repo", "hello"), ("schedule", "create", "0 7 * * *", "hello")):
        done = stack.run(*command)
        assert done.code in (2, 3), command
        assert "ANTHROPIC_API_KEY" in done.err
        assert "shell" in done.err


@pytest.mark.parametrize("command", ["show", "logs", "cancel", "diff", "apply"])
def test_an_unknown_task_is_a_usage_error(stack: Product, command: str, repo: Path) -> None:
    for id in ("task_00000000000000000000000000", "nonsense", "", "task_../../status", "task_?limit=1"):
        done = stack.run(command, id, cwd=repo)
        assert done.code == 2, (command, id, done.err)
        assert done.err.startswith("rclaude: ")


def test_a_server_that_is_not_there_is_unreachable(stack: Product) -> None:
    elsewhere = Product(stack.home, {"RCLAUDE_URL": "http://127.0.0.1:9", "RCLAUDE_API_KEY": "rck_made_up"})
    assert elsewhere.run("list").code == 4


def test_a_wrong_key_is_refused(stack: Product) -> None:
    other = Product(stack.home, {"RCLAUDE_URL": stack.status()["url"], "RCLAUDE_API_KEY": "rck_made_up"})
    assert other.run("list").code == 3


def test_the_bill_of_what_is_no_task_is_not_found(stack: Product) -> None:
    assert stack.run("bill", "").code == 2, "an empty variable is not `every task`"
    with stack.client() as api:
        for id in ("nonsense", "%00", "task_%00", "task_00000000000000000000000000"):
            answer = api.get(f"/v1/tasks/{id}/bill")
            assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found"), id


def test_the_bill_of_another_organisations_task_is_told_from_nothing_by_nothing(stack: Product) -> None:
    org, user = stack.admin("org", "create", "Neighbours").out.split()
    key = stack.admin("key", "issue", org, user).out.split()[1]
    mine, never = stack.submit("true"), "task_00000000000000000000000000"
    with stack.client() as api:
        api.headers["Authorization"] = f"Bearer {key}"
        answers = [api.get(f"/v1/tasks/{id}/bill") for id in (mine, never)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text.replace(mine, never) == answers[1].text


@pytest.mark.parametrize(
    "command",
    [
        ("webhook", "add", "*", "http://127.0.0.1:9/"),
        ("plan", "set", "*", "pro"),
        ("key", "issue", "*", "*"),
        ("key", "issue", "{org}", "user_nobody"),
        ("key", "revoke", "{org}", "*"),
    ],
    ids=" ".join,
)
def test_an_unknown_name_is_refused(stack: Product, command: tuple[str, ...]) -> None:
    org = stack.status()["org"]
    done = stack.admin(*(word.format(org=org) for word in command))
    assert (done.code, done.out) == (2, ""), done.err
    assert "Traceback" not in done.err


def test_the_bill_of_a_task_is_there_as_soon_as_the_task_is(stack: Product) -> None:
    with stack.client() as api:
        for _ in range(20):
            task = api.post("/v1/tasks", json={"prompt": "true", "agent": "shell"}).json()
            at_once = api.get(f"/v1/tasks/{task['id']}/bill")
            assert at_once.status_code == 200, at_once.text
            bill = api.get(f"/v1/tasks/{task['id']}/bill", params={"min_position": task["position"]}).json()
            assert bill["as_of"] >= task["position"]


def test_output_goes_on_where_it_was_after_an_interrupt(stack: Product) -> None:
    command = stack.command("run", "--agent", "shell", "--no-repo", "echo hi; sleep 60")
    with subprocess.Popen(
        command, env=stack.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "hi\n"
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "hi\n" not in out
