"""The ECS provider: against an emulator that starts the worker's image in real containers, and what AWS refuses."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import boto3
import pytest
from botocore.stub import Stubber

from aws_emulator import CREDENTIALS, TokenKeepingClient, aws
from docker_images import worker_image, worker_images
from provider_contract import ProviderContract
from remote_claude.runner.providers import (
    ComputeProvider,
    LaunchSpec,
    ProviderError,
    SandboxLimits,
    SandboxUnavailable,
)
from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.ecs import EcsCloud, EcsSettings
from remote_claude.runner.providers.ecs.client import EcsClient
from remote_claude.runner.providers.ecs.sizes import EcsTaskSize, fargate_size

WORKER = "remote-claude-worker"
LOGS = "/remote-claude/worker"
LOG_OPTIONS = {"awslogs-group": LOGS, "awslogs-region": "eu-central-1", "awslogs-stream-prefix": "worker"}


@pytest.fixture(scope="module")
def emulator() -> Iterator[None]:
    with worker_images() as engine, aws(engine) as environment:
        before = {key: os.environ.get(key) for key in environment}
        os.environ.update(environment)
        boto3.client("logs").create_log_group(logGroupName=LOGS)
        ecs = boto3.client("ecs")
        ecs.create_cluster(clusterName="remote-claude")
        ecs.register_task_definition(
            family=WORKER,
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            containerDefinitions=[
                {
                    "name": "worker",
                    "image": worker_image(),
                    "logConfiguration": {"logDriver": "awslogs", "options": LOG_OPTIONS},
                }
            ],
        )
        yield
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


@pytest.fixture
def runner() -> str:
    return f"runner_{uuid.uuid4().hex}"


def made(runner: str, client: EcsClient | None = None, poll_s: float = 0.1, **settings: Any) -> CloudProvider:
    given = EcsSettings(poll_s=poll_s, **settings)
    return CloudProvider(runner, EcsCloud(runner, given, client or TokenKeepingClient(given)))


@pytest.mark.usefixtures("emulator")
class TestContract(ProviderContract):
    python: ClassVar[str] = "/opt/worker/bin/python"

    @pytest.fixture
    def client(self) -> EcsClient:
        return TokenKeepingClient(EcsSettings())

    @pytest.fixture
    async def provider(self, runner: str, client: EcsClient) -> AsyncIterator[ComputeProvider]:
        ecs = made(runner, client)
        yield ecs
        await ecs.close()

    async def test_memory_beyond_its_limit_ends_it(self, provider: ComputeProvider, name: str) -> None:
        """The emulator holds no container to its memory: see `test_a_task_that_ran_out_of_memory_says_so`."""
        assert provider.capabilities.memory_limit

    async def test_a_task_knows_no_credentials_of_the_runner(
        self, provider: ComputeProvider, name: str
    ) -> None:
        script = "import json, os; print(json.dumps([os.getuid(), *os.environ.values()]))"
        uid, *values = await self.said(provider, self.script(name, script))
        assert uid == 1000
        assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in values

    async def test_what_an_earlier_process_left_is_stopped(
        self, provider: ComputeProvider, name: str, runner: str
    ) -> None:
        await provider.launch(self.shell(name, "sleep 1000", labels={"task": "task_1"}))
        following = made(runner)
        assert await following.recover() == [name]
        assert await following.list() == []
        assert (await provider.wait(name)).reason == "killed"

    async def test_a_launch_whose_answer_was_lost_is_not_done_twice(
        self, provider: ComputeProvider, name: str, runner: str, client: EcsClient
    ) -> None:
        spec = self.shell(name, "sleep 1000")
        first = await provider.launch(spec)
        again = made(runner, client)
        assert (await again.launch(spec)).handle == first.handle
        assert len(await provider.list()) == 1
        other = made(runner, client)
        with pytest.raises(ProviderError) as refusal:
            await other.launch(self.shell(name, "true"))
        assert refusal.value.code == "sandbox_exists"
        await again.close()
        await other.close()

    async def test_a_missing_task_definition_is_named(self, runner: str) -> None:
        provider = made(runner, task_definition="missing")
        with pytest.raises(SandboxUnavailable, match="the task definition missing can't be read"):
            await provider.check()
        await provider.close()


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ((100, 100, 10), EcsTaskSize(256, 512, 20)),
        ((250, 513, 10), EcsTaskSize(256, 1024, 20)),
        ((1000, 2048, 10), EcsTaskSize(1024, 2048, 20)),
        ((1000, 9000, 10), EcsTaskSize(2048, 9216, 20)),
        ((2001, 4096, 10), EcsTaskSize(4096, 8192, 20)),
        ((4000, 16384, 21 * 1024 + 1), EcsTaskSize(4096, 16384, 22)),
        ((16000, 120 * 1024, 10), EcsTaskSize(16384, 120 * 1024, 20)),
    ],
)
def test_a_size_is_rounded_up_to_what_is_sold(asked: tuple[int, int, int], size: EcsTaskSize) -> None:
    vcpu, memory, disk = asked
    limits = SandboxLimits(vcpu_millis=vcpu, memory_mib=memory, disk_mib=disk, duration_s=1)
    assert fargate_size(limits) == size


def test_a_size_that_is_not_sold_is_refused() -> None:
    with pytest.raises(ProviderError) as refusal:
        fargate_size(SandboxLimits(vcpu_millis=17000, memory_mib=1024, duration_s=1))
    assert refusal.value.code == "provider_size"


class Stubbed(EcsClient):
    """With answers that botocore holds against AWS's own description of its API."""

    def __init__(self) -> None:
        super().__init__(EcsSettings())
        client = boto3.client(
            "ecs", region_name="eu-central-1", aws_access_key_id="made-up", aws_secret_access_key="made-up"
        )
        self._clients["ecs"] = client
        self.stub = Stubber(client)
        self.stub.add_response(
            "describe_task_definition", {"taskDefinition": {"containerDefinitions": [{"name": "worker"}]}}
        )
        self.stub.activate()


def spec() -> LaunchSpec:
    return LaunchSpec(name="task_1-1", limits=SandboxLimits(vcpu_millis=1000, memory_mib=2048, duration_s=60))


@pytest.mark.parametrize(
    ("vendor", "message", "code", "advice"),
    [
        ("AccessDeniedException", "not authorized to perform: ecs:RunTask", "provider_credentials", "rights"),
        ("ExpiredTokenException", "The security token is expired", "provider_credentials", "sts"),
        ("LimitExceededException", "too many", "provider_quota", "Service Quotas"),
        (
            "ClientException",
            "You've reached the limit on the number of vCPUs you can run concurrently",
            "provider_quota",
            "Service Quotas",
        ),
        ("ThrottlingException", "Rate exceeded", "provider_throttled", "fewer"),
        ("ClusterNotFoundException", "Cluster not found.", "sandbox_failed", "Cluster not found"),
    ],
)
async def test_what_aws_refuses_has_a_code_and_says_what_to_do(
    vendor: str, message: str, code: str, advice: str, runner: str
) -> None:
    client = Stubbed()
    client.stub.add_client_error("run_task", vendor, message, 400)
    with pytest.raises(ProviderError, match=advice) as refusal:
        await made(runner, client).launch(spec())
    assert refusal.value.code == code


async def test_missing_capacity_is_its_own_code(runner: str) -> None:
    client = Stubbed()
    reason = (
        "Capacity is unavailable at this time. Please try again later or in a different availability zone"
    )
    client.stub.add_response("run_task", {"tasks": [], "failures": [{"reason": reason}]})
    with pytest.raises(ProviderError, match="availability zones") as refusal:
        await made(runner, client).launch(spec())
    assert refusal.value.code == "provider_capacity"


@pytest.mark.parametrize(
    ("stopped", "worker", "expected"),
    [
        (
            {"stopCode": "EssentialContainerExited"},
            {"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"},
            "out_of_memory",
        ),
        (
            {"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was interrupted."},
            {"exitCode": 0},
            "killed",
        ),
        ({"stopCode": "EssentialContainerExited"}, {"exitCode": 3}, "exited"),
        (
            {"stopCode": "TaskFailedToStart", "stoppedReason": "CannotPullContainerError: not found"},
            {},
            "sandbox_failed",
        ),
        (
            {"stopCode": "TaskFailedToStart", "stoppedReason": "Capacity is unavailable at this time"},
            {},
            "provider_capacity",
        ),
    ],
)
async def test_each_reason_of_a_stopped_task_has_a_code(
    stopped: dict[str, str], worker: dict[str, Any], expected: str, runner: str
) -> None:
    client = Stubbed()
    task = {"taskArn": "arn:aws:ecs:eu-central-1:000000000000:task/remote-claude/1"}
    client.stub.add_response("run_task", {"tasks": [task], "failures": []})
    ended = {**task, **stopped, "lastStatus": "STOPPED", "desiredStatus": "STOPPED", "containers": [worker]}
    client.stub.add_response("list_tasks", {"taskArns": []})
    client.stub.add_response("describe_tasks", {"tasks": [ended]})
    provider = made(runner, client, poll_s=0.01)
    await provider.launch(spec())
    (end,) = await asyncio.gather(provider.wait("task_1-1"), return_exceptions=True)
    assert (end.code if isinstance(end, ProviderError) else getattr(end, "reason", end)) == expected
    await provider.close()


WITHOUT_BOTO3 = """import asyncio, sys
sys.modules["boto3"] = None
from remote_claude.runner.providers import create, ProviderSettings
from pathlib import Path
provider = create("ecs", ProviderSettings(runner="runner_1", home=Path(), environment={}))
assert "botocore" not in sys.modules
async def main():
    assert await provider.recover() == []
    await provider.check()
asyncio.run(main())
"""


def test_without_the_extra_the_runner_starts_and_says_which_is_missing() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_BOTO3], capture_output=True, text=True, check=False, timeout=60
    )
    assert "remote-claude-runner[aws]" in ended.stderr, ended.stderr
    assert "SandboxUnavailable" in ended.stderr
