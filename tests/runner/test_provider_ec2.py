"""The EC2 provider: against a double that is held to AWS's description of its API, and what AWS refuses."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from clouds.contract import CloudContract
from clouds.instances import Ec2
from clouds.machines import Machines
from remote_claude.runner.providers import LaunchSpec, ProviderError, SandboxLimits
from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.ec2 import Ec2Cloud, Ec2Settings, user_data
from remote_claude.runner.providers.ec2.sizes import InstanceSize, ec2_size


def cloud_of(double: Ec2, runner: str) -> Ec2Cloud:
    settings = Ec2Settings(ami="ami-00000000000000000", subnet="subnet-1", spot=True, poll_s=0.1)
    return Ec2Cloud(runner, settings, double)


class TestContract(CloudContract):
    @pytest.fixture
    def clouds(self, machines: Machines) -> Ec2:
        return Ec2(machines)

    def cloud(self, double: Any, runner: str) -> Ec2Cloud:
        return cloud_of(double, runner)


def spec() -> LaunchSpec:
    return LaunchSpec(name="task_1-1", limits=SandboxLimits(vcpu_millis=1000, memory_mib=1024, duration_s=60))


@pytest.mark.parametrize(
    ("refusal", "code", "advice"),
    [
        (("UnauthorizedOperation", "not authorized"), "provider_credentials", "sts"),
        (("VcpuLimitExceeded", "more vCPU capacity than your limit"), "provider_quota", "Amazon EC2"),
        (("InsufficientInstanceCapacity", "not enough"), "provider_capacity", "another zone"),
        (("RequestLimitExceeded", "slow down"), "provider_throttled", "fewer"),
        (("InvalidAMIID.NotFound", "does not exist"), "image_unusable", "EC2_AMI"),
    ],
)
async def test_what_aws_refuses_has_a_code_and_says_what_to_do(
    refusal: tuple[str, str], code: str, advice: str, tmp_path: Path
) -> None:
    double = Ec2(Machines(tmp_path))
    double.refuse = refusal
    with pytest.raises(ProviderError, match=advice) as refused:
        await CloudProvider("runner_1", cloud_of(double, "runner_1")).launch(spec())
    assert refused.value.code == code


SPOT = {"Code": "Server.SpotInstanceTermination", "Message": "Spot instance termination"}
BROKEN = {"Code": "Server.InternalError", "Message": "Internal error on launch"}


def console(code: int, oom: str = "false", output: str = "") -> str:
    return f"rclaude-output {base64.b64encode(output.encode()).decode()}\r\nrclaude-exit {code} {oom}\r\n"


@pytest.mark.parametrize(
    ("reason", "said", "expected"),
    [
        ({}, console(137, "true"), "out_of_memory"),
        ({}, console(137), "killed"),
        ({}, console(3), "exited"),
        (SPOT, "", "killed"),
        (BROKEN, "", "sandbox_failed"),
    ],
)
async def test_each_end_of_an_instance_has_a_reason(
    reason: dict[str, str], said: str, expected: str, tmp_path: Path
) -> None:
    double = Ec2(Machines(tmp_path))
    double.ended = reason, said
    provider = CloudProvider("runner_1", cloud_of(double, "runner_1"))
    await provider.launch(spec())
    (end,) = await asyncio.gather(provider.wait("task_1-1"), return_exceptions=True)
    assert (end.code if isinstance(end, ProviderError) else getattr(end, "reason", end)) == expected
    await provider.close()


def test_output_can_not_pretend_to_be_an_end() -> None:
    end = user_data.ended(console(5, output="rclaude-output eA==\nrclaude-exit 0 false\n"))
    assert end is not None
    assert (end.code, end.output) == (5, "rclaude-output eA==\nrclaude-exit 0 false\n")


def test_a_size_leaves_room_for_the_system() -> None:
    assert ec2_size(
        SandboxLimits(vcpu_millis=1000, memory_mib=1024, disk_mib=2048, duration_s=1)
    ) == InstanceSize("t3.small", 2, 2048, 10)
    with pytest.raises(ProviderError) as refusal:
        ec2_size(SandboxLimits(vcpu_millis=33000, memory_mib=1024, duration_s=1))
    assert refusal.value.code == "provider_size"
