"""Tasks in Docker containers: the product on this machine, its sandboxes in a real engine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from docker_host import docker
from docker_images import worker_image, worker_images
from messages_api import serving_in_a_thread, text, tool
from package_index import HOST, package_index, served
from product import Product, product
from remote_claude.runtime.embedded.home import free_port
from servers import until

KEY = "sk-ant-made-up-for-this-test"
SECONDS = 90


@pytest.fixture(scope="module")
def engine() -> Iterator[dict[str, str]]:
    with worker_images() as environment:
        yield environment


@contextmanager
def with_docker(
    engine: dict[str, str], *, port: int | None = None, agents: str = "", **more: str
) -> Iterator[Product]:
    environment = {
        **engine,
        "RCLAUDE_RUNNER_PROVIDERS": "local,docker",
        "RCLAUDE_RUNNER_DOCKER_IMAGE": worker_image(agents),
        **more,
    }
    with product(environment, up=False) as one:
        one.ok("up", "--detach", *(("--port", str(port)) if port is not None else ()))
        offered(one, "docker")
        yield one


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a package index on this machine."""
    folder = tmp_path_factory.mktemp("www")
    package_index(folder)
    with served(folder) as port:
        yield f"{HOST}:{port}"


@pytest.fixture(scope="module")
def containers(engine: dict[str, str], index: str) -> Iterator[Product]:
    """A stack whose tasks may connect to the package index."""
    with with_docker(engine, RCLAUDE_OUTBOUND_ALLOW=index) as one:
        yield one


def offered(one: Product, provider: str) -> None:
    """Wait until a runner with this provider has joined."""
    until(
        lambda: any(e["data"]["provider"] == provider for e in one.events("--type", "RunnerJoined")),
        f"a runner with {provider}",
        60,
        pause=0.3,
    )


def container(engine: dict[str, str], task: str, attempt: int) -> str:
    """The id of an attempt's container, once it runs."""
    found: list[str] = []

    def runs() -> bool:
        name = f"name=rclaude-{task}-{attempt}$"
        found[:] = docker(engine, "docker", "ps", "--quiet", "--no-trunc", "--filter", name).split()
        return bool(found)

    until(runs, f"a container of attempt {attempt}", SECONDS, pause=0.2)
    return found[0]


def events(one: Product, type: str, task: str) -> list[Any]:
    return [event for event in one.events("--type", type) if event["data"].get("task") == task]


@pytest.mark.timeout(300)
def test_a_task_in_a_container_takes_messages_and_continues_when_it_is_killed(
    engine: dict[str, str], containers: Product, repo: Path
) -> None:
    one = containers
    first = "echo first >> turns.txt; echo ready; while [ ! -e /tmp/go ]; do sleep 0.1; done"
    second = "echo second >> turns.txt; echo waiting; while [ ! -e /tmp/go-on ]; do sleep 0.1; done"
    run = ("run", "--provider", "docker", "--agent", "shell", "--detach", "--json")
    task = str(one.ok(*run, first, cwd=repo).json["id"])
    until(lambda: "ready" in one.output(task), "the first turn", SECONDS, pause=0.2)
    one.ok("send", task, second)
    one.ok("send", task, "cat turns.txt")
    docker(engine, "docker", "exec", container(engine, task, 1), "touch", "/tmp/go")
    until(lambda: "waiting" in one.output(task), "the second turn", SECONDS, pause=0.2)
    until(lambda: bool(events(one, "CheckpointSaved", task)), "a checkpoint", SECONDS, pause=0.3)

    docker(engine, "docker", "kill", container(engine, task, 1))
    docker(engine, "docker", "exec", container(engine, task, 2), "touch", "/tmp/go-on")
    ended = one.ended(task, SECONDS)
    assert ended["state"] == "succeeded", ended
    assert [attempt["provider"] for attempt in ended["attempts"]] == ["docker", "docker"]
    assert "first\nsecond\n" in one.output(task)
    assert one.output(task).count("ready") == 1, "the first turn did not run again"
    assert "+first" in one.ok("diff", task).out
    assert docker(engine, "docker", "ps", "--all", "--quiet", "--filter", f"name={task}") == ""
    one.verified()


@pytest.mark.timeout(300)
def test_a_container_installs_a_package_through_the_proxy_and_reaches_nothing_else(
    containers: Product, index: str
) -> None:
    address, port = index.split(":")
    script = f"""
        set -e
        python3 -m venv tools
        tools/bin/python -m pip -q --disable-pip-version-check install --index-url http://{index}/simple made-up-greeting
        tools/bin/python -c 'import made_up_greeting'
        for n in 1 2; do curl -s https://evil.example/ || echo "curl refused $?"; done
        curl -s -m 5 --noproxy '*' http://{index}/simple/ || echo "no way around $?"
        curl -s -m 5 --noproxy '*' http://192.0.2.1/ || echo "no route $?"
    """
    run = ("run", "--provider", "docker", "--agent", "shell", "--no-repo", "--json", "--network", index)
    task = containers.ok(*run, script).json
    assert [attempt["provider"] for attempt in task["attempts"]] == ["docker"], task["attempts"]
    shown = containers.ok("logs", task["id"])
    said = shown.out + shown.err
    assert said.count("greetings from a package") == 1, said
    assert said.count("evil.example:443 is not on the task's network list") == 1, said
    assert said.count("curl refused") == 2, said
    assert "no way around 7" in said
    assert "no route 7" in said

    frames = containers.ok("logs", task["id"], "--json").lines
    audit = [frame for frame in frames if frame["kind"] == "connection"]
    assert {(f["host"], f["outcome"]) for f in audit} == {(address, "closed"), ("evil.example", "refused")}
    assert {f["port"] for f in audit if f["host"] == address} == {int(port)}

    billed: dict[str, int] = {}

    def rated() -> bool:
        lines = containers.ok("bill", task["id"], "--json").json["lines"]
        billed.update({line["meter"]: int(line["quantity"]) for line in lines})
        return {"vcpu_ms", "gib_ms", "egress_bytes"} <= billed.keys()

    until(rated, "the task's bill", 30, pause=0.2)
    assert billed["egress_bytes"] == sum(f["sent"] + f["received"] for f in audit) > 1000
    used = task["usage"]
    meters = ("vcpu_ms", "gib_ms", "egress_bytes")
    assert [billed[meter] for meter in meters] == [used[meter] for meter in meters]
    assert billed["vcpu_ms"] > 0
    assert billed["gib_ms"] > 0


@pytest.mark.nightly  # builds an image with Claude Code
@pytest.mark.timeout(900)
def test_claude_code_continues_from_its_last_turn_in_another_container(repo: Path) -> None:
    turns = (
        [text("I write a file."), tool("Write", file_path="/workspace/one.txt", content="one\n")],
        [tool("Bash", command="tail -f /dev/null", description="wait")],
        [text("Both are done.")],
    )
    agents = "claude-agent-sdk"
    with (
        worker_images(agents) as engine,
        serving_in_a_thread(*turns) as api,
        with_docker(engine, agents=agents, ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=api.base_url) as one,
    ):
        task = str(
            one.ok("run", "--provider", "docker", "--detach", "--json", "write one", cwd=repo).json["id"]
        )
        until(lambda: bool(events(one, "CheckpointSaved", task)), "a checkpoint", SECONDS, pause=0.3)
        until(lambda: len(api.requests) >= 2, "the second turn", SECONDS, pause=0.2)
        docker(engine, "docker", "kill", container(engine, task, 1))
        ended = one.ended(task, SECONDS)
        assert ended["state"] == "succeeded", ended
        assert "+one" in one.ok("diff", task).out
        asked = [request for request in api.requests if "I write a file." in str(request["body"])]
        assert len(api.requests) == 3, "no finished turn was asked of the model again"
        assert len(asked) == 2, "and the conversation went on"


@pytest.mark.timeout(300)
def test_a_worker_meets_a_stack_without_an_address_at_a_relay(engine: dict[str, str], tmp_path: Path) -> None:
    """The relay is lost while the task runs, and is there again."""
    port = free_port()
    token = "made-up-token-of-the-relay-0123456789"
    box = Product(tmp_path / "relay", {"RCLAUDE_RELAY_TOKEN": token})
    command = box.command("relay", "--port", str(port))
    relay = subprocess.Popen(command, env=box.env, start_new_session=True)
    try:
        with with_docker(
            engine,
            RCLAUDE_RUNNER_DOCKER_NETWORK="host",  # which reaches the relay on its loopback
            RCLAUDE_RUNNER_RELAY_URL=f"ws://127.0.0.1:{port}",
            RCLAUDE_RUNNER_RELAY_TOKEN=token,
        ) as one:
            script = "echo begun; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo through the relay"
            task = one.submit(script, "--provider", "docker")
            until(lambda: "begun" in one.output(task), "the task's beginning", SECONDS, pause=0.2)
            os.killpg(relay.pid, signal.SIGKILL)
            relay.wait()
            relay = subprocess.Popen(command, env=box.env, start_new_session=True)
            docker(engine, "docker", "exec", container(engine, task, 1), "touch", "/tmp/go")
            ended = one.ended(task, SECONDS)
            assert ended["state"] == "succeeded", ended
            assert len(ended["attempts"]) == 1, ended
            assert "through the relay" in one.output(task)
            held = [
                path
                for path in one.home.rglob("log/*")
                if path.is_file() and token.encode() in path.read_bytes()
            ]
            assert held == []
    finally:
        os.killpg(relay.pid, signal.SIGKILL)
        relay.wait()


@pytest.mark.timeout(300)
def test_a_worker_with_a_network_connects_through_the_gateway(engine: dict[str, str]) -> None:
    port = free_port()
    with with_docker(
        engine,
        port=port,
        RCLAUDE_RUNNER_DOCKER_NETWORK="host",  # which reaches the gateway on its loopback
        RCLAUDE_RUNNER_GATEWAY_URL=f"ws://127.0.0.1:{port}",
    ) as one:
        task = one.submit(
            "echo through the gateway; head -c 3000000 /dev/zero | base64 -w 100", "--provider", "docker"
        )
        ended = one.ended(task, SECONDS)
        assert ended["state"] == "succeeded", ended
        frames = one.ok("logs", task).out
        assert frames.startswith("through the gateway\n")
        assert len(frames) > 4_000_000
