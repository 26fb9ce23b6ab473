"""The Azure provider: against a double that is held to Azure's own models of its API, and what Azure refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clouds.container_groups import ContainerGroups
from clouds.contract import CloudContract
from clouds.machines import Machines
from remote_claude.runner.providers import LaunchSpec, ProviderError, SandboxLimits
from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.container_instances import (
    ContainerInstancesCloud,
    ContainerInstancesSettings,
)
from remote_claude.runner.providers.container_instances.sizes import ContainerGroupSize, container_size


class MadeUp:
    async def headers(self) -> Mapping[str, str]:
        return {"authorization": "Bearer made-up"}


def cloud_of(double: ContainerGroups, runner: str) -> ContainerInstancesCloud:
    settings = ContainerInstancesSettings(
        subscription="00000000-0000-0000-0000-000000000000",
        image="madeup.azurecr.io/worker",
        registry_server="madeup.azurecr.io",
        registry_username="made-up",
        registry_password="made-up",
        subnet="/subscriptions/0/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s",
        poll_s=0.1,
    )
    return ContainerInstancesCloud(runner, settings, MadeUp(), httpx2.ASGITransport(double.app))


class TestContract(CloudContract):
    @pytest.fixture
    def clouds(self, machines: Machines) -> ContainerGroups:
        return ContainerGroups(machines)

    def cloud(self, double: Any, runner: str) -> ContainerInstancesCloud:
        return cloud_of(double, runner)


def spec() -> LaunchSpec:
    return LaunchSpec(name="task_1-1", limits=SandboxLimits(vcpu_millis=1000, memory_mib=1024, duration_s=60))


@pytest.mark.parametrize(
    ("refusal", "code", "advice"),
    [
        (
            (403, "AuthorizationFailed", "no authorization to perform action"),
            "provider_credentials",
            "az login",
        ),
        ((409, "ContainerGroupQuotaReached", "limit 100"), "provider_quota", "Quotas"),
        (
            (409, "ServiceUnavailable", "is not available in the location"),
            "provider_capacity",
            "another location",
        ),
        ((400, "InaccessibleImage", "the image is not accessible"), "image_unusable", "Push the image"),
    ],
)
async def test_what_azure_refuses_has_a_code_and_says_what_to_do(
    refusal: tuple[int, str, str], code: str, advice: str, tmp_path: Path
) -> None:
    double = ContainerGroups(Machines(tmp_path))
    double.refuse = refusal
    with pytest.raises(ProviderError, match=advice) as refused:
        await CloudProvider("runner_1", cloud_of(double, "runner_1")).launch(spec())
    assert refused.value.code == code


PULL = {"events": [{"type": "Warning", "name": "Failed", "message": "Failed to pull image"}]}


def terminated(code: int, detail: str) -> dict[str, Any]:
    return {"currentState": {"state": "Terminated", "exitCode": code, "detailStatus": detail}}


@pytest.mark.parametrize(
    ("group", "container", "expected"),
    [
        ({"state": "Failed"}, terminated(137, "OOMKilled"), "out_of_memory"),
        ({"state": "Failed"}, terminated(137, "Error"), "killed"),
        ({"state": "Failed"}, terminated(3, "Error"), "exited"),
        ({"state": "Stopped"}, {}, "killed"),
        ({"state": "Failed"}, PULL, "image_unusable"),
    ],
)
async def test_each_end_of_a_group_has_a_reason(
    group: dict[str, Any], container: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    double = ContainerGroups(Machines(tmp_path))
    double.ended = group, container
    provider = CloudProvider("runner_1", cloud_of(double, "runner_1"))
    await provider.launch(spec())
    (end,) = await asyncio.gather(provider.wait("task_1-1"), return_exceptions=True)
    assert (end.code if isinstance(end, ProviderError) else getattr(end, "reason", end)) == expected
    assert double.groups == {}
    await provider.close()


def test_a_size_is_rounded_up_to_what_is_sold() -> None:
    assert container_size(
        SandboxLimits(vcpu_millis=1100, memory_mib=1025, duration_s=1)
    ) == ContainerGroupSize(2, 1.1)
    with pytest.raises(ProviderError) as refusal:
        container_size(SandboxLimits(vcpu_millis=1000, memory_mib=20000, duration_s=1))
    assert refusal.value.code == "provider_size"
