"""Many tasks from one file."""

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

from product import BIN, Product, git
from remote_claude.cli.commands.batch import _states

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "batch.md"


def test_ten_tasks_are_done_once_however_often_the_command_runs(
    stack: Product, repo: Path, tmp_path: Path
) -> None:
    file = tmp_path / "numbers.csv"
    file.write_text("number,id\n" + "".join(f"{n},item-{n}\n" for n in range(10)))
    command = ["batch", str(file), "--agent", "shell", "--json", "--max-parallel", "4"]
    command += ["--prompt", "echo {number} > n{number}.txt", "--label", "team=core"]
    first = stack.ok(*command, cwd=repo).json
    assert (first["state"], first["total"], first["submitted"]) == ("succeeded", 10, 10)
    assert first["states"] == {"succeeded": 10}
    assert first["url"] == f"{stack.ok('status', '--json').json['url']}/batches/{first['id']}"
    ids = [item["id"] for item in first["items"]]
    bills = [stack.ok("bill", id, "--json").json["total_nano_usd"] for id in ids]
    assert [item["cost_nano_usd"] for item in first["items"]] == bills
    assert first["total_nano_usd"] == sum(bills) > 0

    (repo / "README.md").write_text("changed since\n")
    again = stack.ok(*command, cwd=repo)
    assert f"batch {first['name']}: it was submitted before, with 10 tasks; the file or" in again.err
    assert again.json["submitted"] == 0
    assert again.json["items"] == first["items"]
    assert next(one["id"] for one in stack.ok("batches", "--json").json["batches"]) == first["id"]
    listed = stack.ok("list", "--label", f"batch={first['name']}", "--label", "team=core", "--json").json
    assert {task["id"] for task in listed["tasks"]} == set(ids)

    git(repo, "checkout", "--quiet", "README.md")
    stack.ok("apply", ids[3], cwd=repo)
    assert (repo / "n3.txt").read_text() == "3\n"


def test_a_batch_is_submitted_detached_and_picked_up_again_from_anywhere(
    stack: Product, tmp_path: Path
) -> None:
    file = tmp_path / "b.jsonl"
    file.write_text('{"prompt": "exit 3", "id": "bad"}\n{"prompt": "true", "id": "good"}\n')
    command = ("batch", str(file), "--agent", "shell", "--no-repo")
    detached = stack.ok(*command, "--detach", "--json").json
    assert (detached["submitted"], detached["state"]) == (2, "running")
    (tmp_path / "elsewhere").mkdir()
    ended = stack.run(*command, cwd=tmp_path / "elsewhere")
    assert ended.code == 1
    assert f"batch {detached['name']}: 1 failed, 1 succeeded; $" in ended.out
    shown = stack.run("batch", detached["id"], "--json").json
    assert (shown["id"], shown["states"]) == (detached["id"], {"failed": 1, "succeeded": 1})
    file.write_text(file.read_text() + '{"prompt": "true", "id": "new"}\n')
    other = stack.run(*command, "--name", detached["name"], "--json")
    assert "'new'" in other.json["error"]["detail"]
    assert _states({"not_submitted": 2}, running=True) == "2 handed over"


def test_a_cancelled_batch_ends_what_runs(stack: Product) -> None:
    text = b'{"prompt": "sleep 600"}\n{"prompt": "touch never"}\n'
    command = ("batch", "-", "--format", "jsonl", "--agent", "shell", "--no-repo", "--max-parallel", "1")
    detached = stack.ok(*command, "--detach", "--json", stdin=text).json
    ended = stack.run("batch", detached["id"], "--cancel", "--json")
    assert (ended.code, ended.json["state"]) == (1, "cancelled")
    assert ended.json["items"][1]["state"] == "not_submitted"
    again = stack.run("batch", detached["id"], "--cancel", "--json")
    assert again.json["states"] == ended.json["states"]


def test_fail_fast_cancels_what_runs_and_submits_no_more(stack: Product) -> None:
    items = [{"prompt": "exit 1"}, {"prompt": "sleep 600"}, {"prompt": "touch never"}]
    text = "\n".join(map(json.dumps, items)).encode()
    command = ("batch", "-", "--format", "jsonl", "--agent", "shell", "--no-repo", "--json")
    done = stack.run(*command, "--fail-fast", "--max-parallel", "2", stdin=text)
    assert done.code == 1
    assert [item["state"] for item in done.json["items"]] == ["failed", "cancelled", "not_submitted"]
    assert done.json["state"] == "failed"


def test_what_the_server_refuses_is_named_and_the_others_are_done(stack: Product) -> None:
    text = b"- {prompt: 'true', agent: gpt}\n- {prompt: 'true', agent: shell}\n"
    done = stack.run("batch", "-", "--format", "yaml", "--no-repo", "--json", stdin=text)
    assert done.code == 1
    refused, succeeded = done.json["items"]
    assert (refused["state"], refused["id"], succeeded["state"]) == ("refused", None, "succeeded")
    assert "gpt" in refused["detail"]


def test_a_batch_that_cannot_be_read_submits_nothing(stack: Product, tmp_path: Path) -> None:
    before = stack.ok("list", "--json").json["tasks"]
    file = tmp_path / "b.yaml"
    file.write_text("- {prompt: 'true'}\n- {repo: x}\n")
    done = stack.run("batch", str(file), "--no-repo", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "usage")
    assert stack.ok("list", "--json").json["tasks"] == before


def test_on_a_terminal_a_table_is_drawn_over_itself(stack: Product, tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("- {prompt: 'true', id: first}\n- {prompt: 'true', id: second}\n")
    command = stack.command("batch", str(file), "--agent", "shell", "--no-repo")
    theirs, mine = pty.openpty()
    fcntl.ioctl(mine, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with subprocess.Popen(
        command, env={**stack.env, "TERM": "xterm"}, stdin=mine, stdout=mine, stderr=mine
    ) as running:
        os.close(mine)
        shown = b""
        with contextlib.suppress(OSError):  # the other end has been closed
            while part := os.read(theirs, 65536):
                shown += part
    os.close(theirs)
    assert running.returncode == 0
    text = shown.decode()
    assert "0 of 2 ended" in text
    assert "\x1b[2K" in text
    assert "2 succeeded; $" in text.splitlines()[-1]


def test_the_commands_of_the_guide_work(stack: Product, repo: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    path = f"{BIN}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        cwd=repo,
        env={**stack.env, "PATH": path},
        input="\n".join(blocks),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it was submitted before, with 4 tasks" in done.stderr
    assert (repo / "calc.md").read_text() == "1 calc.py\n"
