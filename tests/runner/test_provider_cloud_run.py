"""The Cloud Run provider: against a double that is held to Google's description of its API, and what Google refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clouds.cloud_run_jobs import CloudRun
from clouds.contract import CloudContract
from clouds.machines import Machines
from remote_claude.runner.providers import LaunchSpec, ProviderError, SandboxLimits
from remote_claude.runner.providers.cloud_run import CloudRunCloud, CloudRunSettings
from remote_claude.runner.providers.cloud_run.sizes import CloudRunSize, cloud_run_size
from remote_claude.runner.providers.clouds import CloudProvider


class MadeUp:
    async def headers(self) -> Mapping[str, str]:
        return {"authorization": "Bearer made-up"}

    async def project(self) -> str:
        return "made-up-project"


def cloud_of(double: CloudRun, runner: str) -> CloudRunCloud:
    settings = CloudRunSettings(image="europe-docker.pkg.dev/made-up/worker", network="tasks", poll_s=0.1)
    return CloudRunCloud(runner, settings, MadeUp(), httpx2.ASGITransport(double.app))


class TestContract(CloudContract):
    @pytest.fixture
    def clouds(self, machines: Machines) -> CloudRun:
        return CloudRun(machines)

    def cloud(self, double: Any, runner: str) -> CloudRunCloud:
        return cloud_of(double, runner)


def spec() -> LaunchSpec:
    return LaunchSpec(name="task_1-1", limits=SandboxLimits(vcpu_millis=1000, memory_mib=1024, duration_s=60))


@pytest.mark.parametrize(
    ("refusal", "code", "advice"),
    [
        (
            (403, "PERMISSION_DENIED", "Permission 'run.jobs.create' denied"),
            "provider_credentials",
            "gcloud auth",
        ),
        ((429, "RESOURCE_EXHAUSTED", "Quota exceeded for run_jobs"), "provider_quota", "Quotas"),
        ((400, "INVALID_ARGUMENT", "Violation in template"), "sandbox_failed", "Violation"),
    ],
)
async def test_what_google_refuses_has_a_code_and_says_what_to_do(
    refusal: tuple[int, str, str], code: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remote_claude.runner.providers.clouds.rest._PAUSE_S", 0.01)
    double = CloudRun(Machines(tmp_path))
    double.refuse = refusal
    with pytest.raises(ProviderError, match=advice) as refused:
        await CloudProvider("runner_1", cloud_of(double, "runner_1")).launch(spec())
    assert refused.value.code == code


DONE = {"completionTime": "2030-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("execution", "result", "expected"),
    [
        (
            {"failedCount": 1},
            {"status": {"code": 8, "message": "Memory limit of 512 MiB exceeded"}},
            "out_of_memory",
        ),
        ({"failedCount": 1}, {"status": {"message": "Terminating task: timeout"}}, "deadline"),
        ({"failedCount": 1}, {"exitCode": 3}, "exited"),
        ({"failedCount": 1}, {"termSignal": 9}, "killed"),
        ({"cancelledCount": 1}, {}, "killed"),
        (
            {
                "conditions": [
                    {"type": "Completed", "reason": "CONTAINER_MISSING", "message": "Image not found"}
                ]
            },
            {},
            "image_unusable",
        ),
    ],
)
async def test_each_end_of_an_execution_has_a_reason(
    execution: dict[str, Any], result: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    double = CloudRun(Machines(tmp_path))
    double.ended = {**DONE, **execution}, result
    provider = CloudProvider("runner_1", cloud_of(double, "runner_1"))
    await provider.launch(spec())
    (end,) = await asyncio.gather(provider.wait("task_1-1"), return_exceptions=True)
    assert (end.code if isinstance(end, ProviderError) else getattr(end, "reason", end)) == expected
    assert double.jobs == {}
    await provider.close()


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ((100, 100), CloudRunSize(1, 512)),
        ((1000, 4097), CloudRunSize(2, 4097)),
        ((3000, 1024), CloudRunSize(4, 2048)),
        ((8000, 32768), CloudRunSize(8, 32768)),
    ],
)
def test_a_size_is_rounded_up_to_what_is_sold(asked: tuple[int, int], size: CloudRunSize) -> None:
    assert cloud_run_size(SandboxLimits(vcpu_millis=asked[0], memory_mib=asked[1], duration_s=1)) == size


def test_a_size_that_is_not_sold_is_refused() -> None:
    with pytest.raises(ProviderError) as refusal:
        cloud_run_size(SandboxLimits(vcpu_millis=9000, memory_mib=1024, duration_s=1))
    assert refusal.value.code == "provider_size"
