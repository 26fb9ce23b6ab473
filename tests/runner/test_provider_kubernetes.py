"""The Kubernetes provider: against a double that is held to the schemas of Kubernetes, and what clusters refuse."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clouds.cluster import Cluster, running
from clouds.contract import CloudContract
from clouds.machines import Machines
from remote_claude.runner.providers import LaunchSpec, ProviderError, SandboxLimits, SandboxUnavailable
from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.kubernetes import KubernetesCloud, KubernetesSettings, access

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: tests
contexts: [{name: tests, context: {cluster: tests, user: tests}}]
clusters: [{name: tests, cluster: {server: "http://cluster.invalid"}}]
users: [{name: tests, user: {token: made-up-token}}]
"""


@pytest.fixture(autouse=True, scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    global PATH
    PATH = tmp_path_factory.mktemp("kube") / "config"
    PATH.write_text(KUBECONFIG)
    return PATH


PATH = Path()


def cloud_of(cluster: Cluster, runner: str) -> KubernetesCloud:
    settings = KubernetesSettings(kubeconfig=str(PATH), poll_s=0.1)
    return KubernetesCloud(runner, settings, httpx2.ASGITransport(cluster.app))


class TestContract(CloudContract):
    @pytest.fixture
    def clouds(self, machines: Machines) -> Cluster:
        return Cluster(machines)

    def cloud(self, double: Any, runner: str) -> KubernetesCloud:
        return cloud_of(double, runner)


def spec() -> LaunchSpec:
    return LaunchSpec(name="task_1-1", limits=SandboxLimits(vcpu_millis=500, memory_mib=1024, duration_s=60))


@pytest.mark.parametrize(
    ("refusal", "code", "advice"),
    [
        (
            (403, "Forbidden", 'jobs.batch is forbidden: User "x" cannot create'),
            "provider_credentials",
            "create, get",
        ),
        ((403, "Forbidden", "exceeded quota: tasks, used: 5, limited: 5"), "provider_quota", "ResourceQuota"),
        ((401, "Unauthorized", "Unauthorized"), "provider_credentials", "pods/log"),
        (
            (404, "NotFound", 'namespaces "remote-claude-tasks" not found'),
            "sandbox_failed",
            "Create the namespace",
        ),
    ],
)
async def test_what_a_cluster_refuses_has_a_code_and_says_what_to_do(
    refusal: tuple[int, str, str], code: str, advice: str, tmp_path: Path
) -> None:
    cluster = Cluster(Machines(tmp_path))
    cluster.refuse = refusal
    with pytest.raises(ProviderError, match=advice) as refused:
        await CloudProvider("runner_1", cloud_of(cluster, "runner_1")).launch(spec())
    assert refused.value.code == code


UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    ],
}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (running({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), "out_of_memory"),
        (running({"terminated": {"exitCode": 137, "reason": "Error"}}), "killed"),
        (
            running({"terminated": {"exitCode": 128, "reason": "StartError", "message": "no"}}),
            "sandbox_failed",
        ),
        (
            running({"waiting": {"reason": "ErrImagePull", "message": "not found"}}, "Pending"),
            "image_unusable",
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "killed"),
        (UNSCHEDULABLE, "provider_capacity"),
    ],
)
async def test_each_end_of_a_pod_has_a_reason(state: dict[str, Any], expected: str, tmp_path: Path) -> None:
    cluster = Cluster(Machines(tmp_path))
    cluster.states = state
    settings = KubernetesSettings(kubeconfig=str(PATH), poll_s=0.01, schedule_s=-1)
    cloud = KubernetesCloud("runner_1", settings, httpx2.ASGITransport(cluster.app))
    provider = CloudProvider("runner_1", cloud)
    await provider.launch(spec())
    (end,) = await asyncio.gather(provider.wait("task_1-1"), return_exceptions=True)
    assert (end.code if isinstance(end, ProviderError) else getattr(end, "reason", end)) == expected
    assert cluster.jobs == {}
    await provider.close()


async def test_a_user_whose_token_a_plugin_gives(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    answer = json.dumps({"kind": "ExecCredential", "status": {"token": "made-up"}})
    plugin.write_text(f"#!/bin/sh\necho '{answer}'\n")
    plugin.chmod(stat.S_IRWXU)
    command = f'exec: {{apiVersion: client.authentication.k8s.io/v1, command: "{plugin}"}}'
    (tmp_path / "config").write_text(KUBECONFIG.replace("token: made-up-token", command))
    found = access.find(str(tmp_path / "config"), None)
    assert await found.headers() == {"authorization": "Bearer made-up"}


def test_a_file_that_leads_nowhere_says_what_to_do(tmp_path: Path) -> None:
    bad = base64.b64encode(b"no certificate").decode()
    (tmp_path / "config").write_text(
        KUBECONFIG.replace('"http://', '"https://').replace(
            'invalid"', f'invalid", certificate-authority-data: "{bad}"'
        )
    )
    for path in ("missing", "config"):
        with pytest.raises(SandboxUnavailable, match="RCLAUDE_RUNNER_KUBERNETES_KUBECONFIG"):
            access.find(str(tmp_path / path), None)
