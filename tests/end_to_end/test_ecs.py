"""The guide for AWS from its first command to its last, on an emulator whose ECS starts real containers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from aws_emulator import CREDENTIALS, aws
from docker_host import ROOT, docker
from docker_images import worker_image, worker_images
from product import Done, Product, product
from remote_claude.runtime.embedded.home import free_port
from servers import until

GUIDE = ROOT / "docs/guides/self-serve/aws.md"
ACCOUNT = "000000000000"
"""The emulator's."""


@pytest.fixture(scope="module")
def engine() -> Iterator[dict[str, str]]:
    with worker_images() as environment:
        yield environment


def commands() -> Iterator[list[str]]:
    """Those of the guide that are ours, in its order."""
    block = False
    for line in GUIDE.read_text().splitlines():
        block = line == "```sh" if line.startswith("```") else block
        if block and line.startswith(("rclaude ", "docker tag ")):
            yield shlex.split(line.replace("ACCOUNT", ACCOUNT))


def with_the_network_of_the_host(environment: dict[str, str], family: str) -> None:
    """Register the task definition once more for this machine: the server listens on its loopback only."""
    ecs = boto3.client(
        "ecs",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    made: dict[str, Any] = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]
    ecs.register_task_definition(
        family=family,
        networkMode="host",
        requiresCompatibilities=["EC2"],
        containerDefinitions=made["containerDefinitions"],
    )


def offers_ecs(one: Product) -> bool:
    joined = [event["data"] for event in one.events("--type", "RunnerJoined")]
    return any(data["provider"] == "ecs" and "shell" in data["agents"] for data in joined)


@pytest.mark.timeout(300)
def test_from_nothing_to_a_task_in_the_cloud_and_back_to_nothing(engine: dict[str, str], repo: Path) -> None:
    port = free_port()
    with (
        aws(engine) as environment,
        product({**environment, "RCLAUDE_RUNNER_GATEWAY_URL": f"ws://127.0.0.1:{port}"}, up=False) as one,
    ):
        done: dict[str, Done] = {}
        image = ""
        for program, *arguments in commands():
            if program == "docker":
                image = arguments[-1]
                docker(engine, program, "tag", worker_image(), image)
                continue
            given = [str(port) if argument == "8080" else argument for argument in arguments]
            if given[0] == "run":
                until(lambda: offers_ecs(one), "a runner with ECS", 90, pause=0.5)
            done[given[0]] = one.ok(*given, cwd=repo)
            if given[0] == "init" and "--yes" in given:
                with_the_network_of_the_host(environment, "remote-claude-worker")
        assert "hello from AWS" in done["run"].out
        (task,) = one.ok("list", "--json").json["tasks"]
        ended = one.task(task["id"])
        assert ended["state"] == "succeeded", ended
        assert [attempt["provider"] for attempt in ended["attempts"]] == ["ecs"]
        assert not (one.home / "self_hosted.json").exists()
        for file in (path for path in one.home.rglob("log/*") if path.is_file()):
            assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in file.read_bytes(), file
        running = docker(engine, "docker", "ps", "--format", "{{.Image}}").split()
        assert image not in running  # other tests run the same image under its own name
