"""The embedded stack, from outside."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from nats_cluster import free_ports
from product import Product, product
from servers import until

ROLES = {"nats", "postgres", "services", "workers", "stack"}


@pytest.fixture(scope="module")
def own() -> Iterator[Product]:
    """A home whose stack each test takes up or down as it needs it."""
    with product(up=False) as one:
        yield one


def test_a_stack_that_does_not_run_has_its_own_exit_code(own: Product) -> None:
    assert own.run("down").code == 0
    for command in (("status",), ("status", "--json"), ("list",)):
        assert own.run(*command).code == 4


def test_run_brings_the_stack_up_and_up_again_is_no_error(own: Product) -> None:
    own.ok("down")
    done = own.run("run", "--agent", "shell", "--no-repo", "--json", "echo hello")
    assert done.code == 0, done.err
    assert done.json["state"] == "succeeded"
    assert done.err.startswith(f"starting the embedded stack in {own.home}")
    assert "\x1b" not in done.err
    assert own.run("up").code == 0
    assert own.run("up", "--detach").code == 0


@pytest.mark.nightly  # `eventsourcing/test_jetstream_log.py` runs one suite over both clients
def test_a_stack_works_with_the_public_api_of_the_brokers_client_only() -> None:
    with product({"RCLAUDE_NATS_PLAIN": "1"}, up=False) as one:
        done = one.run("run", "--agent", "shell", "--no-repo", "--json", "echo hello")
        assert done.code == 0, done.err
        assert done.json["state"] == "succeeded"
        assert "hello" in one.ok("logs", done.json["id"]).out


def test_a_home_is_its_own_users_and_its_databases_only(stack: Product) -> None:
    stack.ended(stack.submit("echo kept"))
    assert any((stack.home / "objects").rglob("?" * 64))
    shown = [p.name for p in stack.home.iterdir() if not p.is_symlink() and p.stat().st_mode & 0o077]
    assert shown == []


def test_a_stack_whose_file_is_damaged_can_still_be_taken_down(own: Product) -> None:
    own.ok("up", "--detach")
    file = own.home / "run" / "stack.json"
    file.write_text(file.read_text()[:40])
    for command in (
        ("list",),
        ("up",),
        ("up", "--detach"),
        ("run", "--agent", "shell", "--no-repo", "true"),
    ):
        done = own.run(*command, timeout=30)  # the stack's start is not waited for
        assert done.code == 4
        assert f"{file}, where it says how to reach it, is damaged" in done.err
        assert "`rclaude down`" in done.err
    views = own.admin("views")
    assert views.code == 2
    assert "`rclaude down`" in views.err
    assert own.ok("down").out == "stopped\n"
    assert own.ok("down").out == "nothing was running\n"


def test_a_process_that_has_got_the_number_of_a_dead_stack_is_left_alone(tmp_path: Path) -> None:
    one = Product(tmp_path)
    (tmp_path / "run").mkdir()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (tmp_path / "lock").write_text(str(stranger.pid))
        (tmp_path / "run" / "stack.json").write_text(
            f'{{"pid": {stranger.pid}, "url": "http://127.0.0.1:9"}}'
        )
        assert one.run("list").code == 4
        assert one.ok("down").out == "nothing was running\n"
        assert stranger.poll() is None
        stranger.kill()


@contextmanager
def in_the_foreground(one: Product) -> Iterator[subprocess.Popen[bytes]]:
    """`rclaude up`; it is gone in the end, whatever it does about signals."""
    with subprocess.Popen(
        one.command("up"),
        env=one.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("kill", "number"),
    [
        (os.kill, signal.SIGTERM),
        pytest.param(os.kill, signal.SIGINT, marks=pytest.mark.nightly),
        (os.killpg, signal.SIGINT),
    ],
)
def test_a_signal_to_the_command_or_to_its_group_takes_the_stack_down(
    own: Product, kill: Callable[[int, int], None], number: signal.Signals
) -> None:
    own.ok("down")
    with in_the_foreground(own) as running:
        assert running.stdout is not None
        assert any(line.startswith(b"ready at ") for line in running.stdout)
        pids = own.stack_file()["pids"]
        assert {"stack", "nats", "postgres", "services"} == set(pids)
        kill(running.pid, number)
        assert running.wait(timeout=60) == 0
        assert [role for role, pid in pids.items() if psutil.pid_exists(pid)] == []
        assert own.run("status").code == 4


def test_a_run_that_waits_finds_the_stack_on_another_port(own: Product) -> None:
    own.ok("up", "--detach")
    command = own.command("run", "--agent", "shell", "--no-repo", "--json", "sleep 600; echo finished")
    with subprocess.Popen(
        command,
        env=own.env,
        cwd=own.home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        task = running.stderr.readline().removeprefix("task: ").strip()
        before = own.stack_file()["url"]
        own.ok("down")
        [port] = free_ports(1)
        own.ok("up", "--detach", "--port", str(port))
        assert own.stack_file()["url"] != before
        own.ended_once_woken(task)
        out, err = running.communicate(timeout=90)
    assert running.returncode == 0, out + err
    assert json.loads(out)["state"] == "succeeded"


def test_a_stack_that_goes_away_during_a_run_leaves_the_task_to_be_picked_up(own: Product) -> None:
    own.ok("up", "--detach")
    watching = subprocess.Popen(
        own.command("run", "--agent", "shell", "--no-repo", "sleep 300"),
        env=own.env, cwd=own.home.parent, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert watching.stderr is not None
    task = watching.stderr.readline().split()[-1]
    own.ok("down")
    said = watching.stderr.read()
    assert watching.wait() == 4
    assert f"`rclaude logs -f --exit-code {task}` picks it up" in said


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.nightly), signal.SIGINT])
def test_a_signal_to_the_command_ends_a_stack_that_is_starting(own: Product, number: signal.Signals) -> None:
    own.ok("down")
    with in_the_foreground(own) as running:
        command = psutil.Process(running.pid)
        until(lambda: bool(command.children()), "the stack's process")
        [stack] = command.children()
        running.send_signal(number)
        assert running.wait(timeout=60) == 0
        assert not stack.is_running()


def test_while_a_command_works_in_a_home_that_is_down_another_says_to_wait_for_it(own: Product) -> None:
    own.ok("up", "--detach")
    own.ok("down")
    tail = own.command("log", "tail", program="rclaude-admin")
    with subprocess.Popen(tail, env=own.env, stdout=subprocess.DEVNULL) as running:
        try:
            lock = own.home / "lock"
            until(lambda: lock.read_text().startswith(f"{running.pid}\n"), "the command holds the home")
            waits = f"another command is at work in {own.home} (process {running.pid}): wait until"
            second = own.admin("views", "--json")
            assert (second.code, second.json["error"]["code"]) == (2, "home_in_use")
            assert second.json["error"]["detail"].startswith(waits)
            for command in (("up",), ("up", "--detach")):
                assert waits in (stack := own.run(*command)).err
                assert stack.code != 0
            assert "nothing was running" in own.ok("down").out
            assert running.poll() is None
        finally:
            running.kill()
    own.ok("up", "--detach")


def test_on_a_terminal_a_line_counts_the_seconds_of_the_start_and_goes_away(own: Product) -> None:
    own.ok("down")
    mine, its = pty.openpty()
    with subprocess.Popen(
        own.command("up", "--detach"), env=own.env, stdout=subprocess.PIPE, stderr=its
    ) as starting:
        os.close(its)
        out, _ = starting.communicate(
            timeout=120
        )  # until the pipe is closed: the stack does not hold it open
    said = os.read(mine, 65536).decode()
    os.close(mine)
    assert out.startswith(b"ready at ")
    assert "starting the embedded stack" in said
    assert "0 s" in said
    assert "\x1b[2K" in said.rpartition(" s")[2]


def test_the_doctor_marks_what_is_not_there_and_is_no_fault(stack: Product) -> None:
    checks = {check["check"]: check for check in stack.ok("doctor", "--json").json}
    claude, shell = checks["agent claude"], checks["agent shell"]
    assert (claude["ok"], claude["level"]) == (False, "note")
    assert "ANTHROPIC_API_KEY" in claude["detail"]
    assert (shell["ok"], shell["level"]) == (True, "ok")
    [line] = [line for line in stack.ok("doctor").out.splitlines() if "agent claude" in line]
    assert line.startswith("note  agent claude: available: There is no model key")


def test_a_reader_of_the_first_line_only_causes_no_error(stack: Product) -> None:
    command = stack.command("run", "--agent", "shell", "--no-repo", "seq 1 3000; sleep 1; seq 1 3000")
    with subprocess.Popen(command, env=stack.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"1\n"
        running.stdout.close()
        assert running.stderr is not None
        said = running.stderr.read().decode()
    assert running.returncode == 141
    assert [line.partition(":")[0] for line in said.splitlines()] == ["task"]
    assert stack.ended(said.split()[1])["state"] == "succeeded"


def test_tables_keep_to_a_screen_of_60_columns(stack: Product) -> None:
    task = stack.ended(stack.submit("echo " + "long words " * 20))["id"]
    narrow = Product(stack.home, {"COLUMNS": "60"})
    for command in (
        ("list",),
        ("bill",),
        ("bill", task),
        ("usage",),
        ("config",),
        ("status",),
        ("show", task),
    ):
        table = [line for line in narrow.ok(*command).out.splitlines() if not line.startswith("processes:")]
        assert max(map(len, table)) <= 60, (command, table)
    assert task in narrow.ok("list").out
    assert narrow.ok("bill", task, "--json").json["events"][0]["event_id"] in narrow.ok("bill", task).out
    assert "long words " * 4 in stack.ok("list").out, "a pipe gets the whole"


def test_names_of_views_stay_different_on_a_screen_of_40_columns(stack: Product) -> None:
    shown = Product(stack.home, {"COLUMNS": "40"}).admin("views").out.splitlines()
    names: list[str] = []
    for first, *others in map(str.split, shown[1:]):
        if others:
            names.append(first)
        else:  # a name that had no room goes on
            names[-1] += first
    assert names == [*stack.views(), "archive"]
    assert max(map(len, shown)) <= 40, shown


def test_status_says_where_everything_is(stack: Product) -> None:
    status = stack.status()
    assert set(status["pids"]) >= ROLES
    assert set(status["services"]) == {"auth", "users", "gateway", "scheduler", "billing", "runner"}
    assert all(service["state"] == "ready" for service in status["services"].values())
    assert Path(status["api_key"]).read_text().startswith("rck_")
    assert status["nats"]["url"].startswith("nats://127.0.0.1:")
    assert Path(status["nats"]["credentials"]).exists()
    assert "127.0.0.1" in status["postgres"]["dsn"]
    assert status["org"].startswith("org_")


def test_secrets_in_the_home_are_for_its_owner_only(stack: Product) -> None:
    for name in ("api_key", "kek", "owner.json", "run/stack.json"):
        assert (stack.home / name).stat().st_mode & 0o077 == 0, name


def test_every_view_rebuilds_to_what_is_live(stack: Product) -> None:
    stack.ok("run", "--agent", "shell", "--no-repo", "--json", "echo one more")
    views = stack.views()
    assert set(views) >= {
        "gateway_tasks",
        "billing_usage",
        "users_directory",
        "runner_held",
        "runner_pull_requests",
        "runner_threads",
    }
    stack.rebuilds_equal()
    stack.ok("list")


def test_the_log_can_be_read_and_holds_no_plain_text_of_a_person(stack: Product) -> None:
    prompt = "echo a-very-private-prompt"
    task = stack.ok("run", "--agent", "shell", "--no-repo", "--json", prompt).json
    assert task["prompt"] == prompt
    events = stack.events()
    assert [event["position"] for event in events] == sorted(event["position"] for event in events)
    assert {
        "position",
        "id",
        "type",
        "version",
        "subject",
        "time",
        "task",
        "causation",
        "correlation",
        "data",
    } <= set(events[0])
    assert "a-very-private-prompt" not in json.dumps(events)
    started = stack.events("--type", "TaskStarted")
    assert task["id"] in {event["task"] for event in started}
    assert {event["type"] for event in started} == {"TaskStarted"}
    assert stack.verified()["ok"]


def test_a_plan_is_changed_by_an_event_and_holds_from_then_on(own: Product) -> None:
    own.ok("up", "--detach")
    org = own.status()["org"]
    assert own.admin("plan", "set", org, "platinum").code == 2
    assert own.admin("plan", "set", "org_nobody", "free").code == 2
    assert own.admin("plan", "set", org, "free").code == 0
    usage = own.ok("usage", "--json").json
    assert (usage["plan"], usage["executions"]["limit"]) == ("free", 100)
    assert own.events("--type", "PlanChanged")[-1]["data"]["plan"] == "free"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered(stack: Product, shell: str) -> None:
    variables = {"_RCLAUDE_COMPLETE": f"source_{shell}"}
    assert "rclaude" in Product(stack.home, variables).ok().out


def test_the_metrics_page_and_the_probes_answer_anyone(stack: Product) -> None:
    with stack.client() as api:
        del api.headers["Authorization"]
        assert api.get("/healthz").status_code == 200
        assert api.get("/readyz").status_code == 200
        assert "rclaude_view_lag_events" in api.get("/metrics").text
        assert "/v1/tasks" in api.get("/openapi.json").json()["paths"]
        assert api.get("/v1/tasks").status_code == 401


def test_another_organisations_ids_are_unknown(stack: Product) -> None:
    mine = stack.ok("run", "--agent", "shell", "--no-repo", "--json", "echo mine").json["id"]
    org, user = stack.admin("org", "create", "Rivals").out.split()
    key = stack.admin("key", "issue", org, user).out.split()[1]
    other = Product(stack.home, {"RCLAUDE_URL": stack.status()["url"], "RCLAUDE_API_KEY": key})
    assert other.ok("list", "--json").json["tasks"] == []
    for command in ("show", "logs", "cancel", "diff", "bill"):
        assert other.run(command, mine).code == 2
    assert other.ok("usage", "--json").json["executions"]["used"] == 0
