"""The Fly provider: against a double that is held to Fly's description of its API, and what Fly refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clouds.contract import CloudContract
from clouds.fly_machines import Fly
from clouds.machines import Machines
from remote_claude.runner.providers import LaunchSpec, ProviderError, SandboxLimits
from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.fly import FlyCloud, FlySettings
from remote_claude.runner.providers.fly.sizes import FlyMachineSize, fly_size


def cloud_of(fly: Fly, runner: str, *, signed_in: bool = True) -> FlyCloud:
    return FlyCloud(
        runner, FlySettings(token="made-up" if signed_in else "", poll_s=0.1), httpx2.ASGITransport(fly.app)
    )


class TestContract(CloudContract):
    @pytest.fixture
    def clouds(self, machines: Machines) -> Fly:
        return Fly(machines)

    def cloud(self, double: Any, runner: str) -> FlyCloud:
        return cloud_of(double, runner)


def spec() -> LaunchSpec:
    return LaunchSpec(name="task_1-1", limits=SandboxLimits(vcpu_millis=1000, memory_mib=1024, duration_s=60))


@pytest.mark.parametrize(
    ("refusal", "code", "advice"),
    [
        ((401, "unauthenticated"), "provider_credentials", "deploy token"),
        ((403, "organization has reached its machine limit"), "provider_quota", "higher limit"),
        ((412, "insufficient resources to create new machine"), "provider_capacity", "another region"),
        ((422, "failed to get manifest registry.fly.io/x"), "image_unusable", "Push the worker"),
        ((404, "App not found"), "sandbox_failed", "fly apps create"),
    ],
)
async def test_what_fly_refuses_has_a_code_and_says_what_to_do(
    refusal: tuple[int, str], code: str, advice: str, tmp_path: Path
) -> None:
    fly = Fly(Machines(tmp_path))
    fly.refuse = refusal
    with pytest.raises(ProviderError, match=advice) as refused:
        await CloudProvider("runner_1", cloud_of(fly, "runner_1")).launch(spec())
    assert refused.value.code == code


async def test_without_a_token_it_says_which_to_make(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="fly tokens create") as refused:
        await CloudProvider(
            "runner_1", cloud_of(Fly(Machines(tmp_path)), "runner_1", signed_in=False)
        ).launch(spec())
    assert refused.value.code == "provider_credentials"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"exit_code": 0, "oom_killed": True}, "out_of_memory"),
        ({"exit_code": 0, "signal": 9}, "killed"),
        ({"exit_code": 3, "signal": -1}, "exited"),
        ({}, "sandbox_failed"),
    ],
)
async def test_each_end_of_a_machine_has_a_reason(
    event: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    fly = Fly(Machines(tmp_path))
    fly.exit_event = event
    provider = CloudProvider("runner_1", cloud_of(fly, "runner_1"))
    await provider.launch(spec())
    (end,) = await asyncio.gather(provider.wait("task_1-1"), return_exceptions=True)
    assert (end.code if isinstance(end, ProviderError) else getattr(end, "reason", end)) == expected
    assert fly.machines == {}
    await provider.close()


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ((100, 100), FlyMachineSize("shared", 1, 256)),
        ((1000, 2049), FlyMachineSize("shared", 2, 2304)),
        ((9000, 1024), FlyMachineSize("performance", 16, 32768)),
        ((1000, 20000), FlyMachineSize("performance", 4, 20224)),
    ],
)
def test_a_size_is_rounded_up_to_what_is_sold(asked: tuple[int, int], size: FlyMachineSize) -> None:
    assert fly_size(SandboxLimits(vcpu_millis=asked[0], memory_mib=asked[1], duration_s=1)) == size


def test_a_size_that_is_not_sold_is_refused() -> None:
    with pytest.raises(ProviderError) as refusal:
        fly_size(SandboxLimits(vcpu_millis=17000, memory_mib=1024, duration_s=1))
    assert refusal.value.code == "provider_size"
