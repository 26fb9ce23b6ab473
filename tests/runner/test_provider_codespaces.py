"""The Codespaces provider: against a double that is held to GitHub's OpenAPI document, and the launcher that it talks to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clouds.codespaces import MACHINES, Codespaces
from clouds.contract import CloudContract
from clouds.machines import Machines
from docker_host import ROOT
from remote_claude.runner.providers import LaunchSpec, ProviderError, SandboxLimits
from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.clouds.provider import WORKER
from remote_claude.runner.providers.codespaces import CodespacesCloud, CodespacesSettings
from remote_claude.runner.providers.codespaces.cloud import machine
from remote_claude.worker import launcher as launcher_module
from remote_claude.worker.launcher import PORT, serving
from servers import until


def cloud_of(double: Codespaces, runner: str, **changes: Any) -> CodespacesCloud:
    settings = CodespacesSettings(**{"token": "made-up", "repository": "ada/tasks", "poll_s": 0.1, **changes})
    return CodespacesCloud(runner, settings, httpx2.ASGITransport(double.app))


class TestContract(CloudContract):
    @pytest.fixture
    def clouds(self, machines: Machines) -> Codespaces:
        return Codespaces(machines)

    def cloud(self, double: Any, runner: str) -> CodespacesCloud:
        return cloud_of(double, runner)


def spec(memory_mib: int = 1024) -> LaunchSpec:
    return LaunchSpec(
        name="task_1-1", limits=SandboxLimits(vcpu_millis=1000, memory_mib=memory_mib, duration_s=60)
    )


@pytest.mark.parametrize(
    ("refusal", "code", "advice"),
    [
        ((401, "Bad credentials"), "provider_credentials", "CODESPACES_TOKEN"),
        ((403, "You have reached the maximum number of codespaces"), "provider_quota", "spending limit"),
        ((503, "Service unavailable"), "provider_capacity", "tried again"),
        ((404, "Not Found"), "sandbox_failed", "CODESPACES_REPOSITORY"),
    ],
)
async def test_what_github_refuses_has_a_code_and_says_what_to_do(
    refusal: tuple[int, str], code: str, advice: str, tmp_path: Path
) -> None:
    double = Codespaces(Machines(tmp_path))
    double.refuse = refusal
    with pytest.raises(ProviderError, match=advice) as refused:
        await CloudProvider("runner_1", cloud_of(double, "runner_1")).launch(spec())
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"token": ""}, "provider_credentials"), ({"repository": ""}, "sandbox_failed")],
)
async def test_a_setting_that_is_missing_is_named(
    settings: dict[str, str], code: str, tmp_path: Path
) -> None:
    double = Codespaces(Machines(tmp_path))
    with pytest.raises(ProviderError, match="RCLAUDE_RUNNER_CODESPACES_") as refused:
        await CloudProvider("runner_1", cloud_of(double, "runner_1", **settings)).launch(spec())
    assert refused.value.code == code


async def test_a_codespace_that_fails_to_start_is_deleted(tmp_path: Path) -> None:
    double = Codespaces(Machines(tmp_path))
    double.state = "Failed"
    with pytest.raises(ProviderError, match="creation log"):
        await CloudProvider("runner_1", cloud_of(double, "runner_1")).launch(spec())
    assert double.codespaces == {}


@pytest.mark.parametrize(
    ("memory_mib", "expected"), [(8192, "basicLinux32gb"), (8193, "standardLinux32gb"), (20000, None)]
)
def test_the_smallest_machine_that_is_offered_is_taken(memory_mib: int, expected: str | None) -> None:
    if expected is not None:
        assert machine(spec(memory_mib).limits, MACHINES) == expected
        return
    with pytest.raises(ProviderError) as refused:
        machine(spec(memory_mib).limits, MACHINES)
    assert refused.value.code == "provider_size"


@pytest.fixture
def launcher() -> Iterator[str]:
    """Address of a real one."""
    with serving(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_launcher_runs_one_command_and_shows_its_output_and_its_end(
    launcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "made-up-token-of-the-codespace")
    given = {"id": "rc-1", "runner": "runner_1", "name": "task_1-1", "command": ["sh", "-c", "env; exit 7"]}
    with httpx2.Client(base_url=launcher, trust_env=False) as http:
        assert http.get("/").status_code == 404
        assert http.post("/", json={**given, "command": ["/no/such"], "env": {}}).status_code == 400
        for _ in range(2):
            assert http.post("/", json={**given, "env": {"GIVEN": "yes"}}).status_code == 200
        assert http.post("/", json={**given, "id": "rc-2", "env": {}}).status_code == 409
        until(lambda: http.get("/").json()["code"] is not None, "its end", 20, pause=0.05)
        status = http.get("/").json()
    assert (status["code"], status["name"], status["runner"]) == (7, "task_1-1", "runner_1")
    assert "GIVEN=yes" in status["output"]
    assert "GITHUB_TOKEN" not in status["output"]


def test_the_template_starts_the_launcher_of_the_workers_image_on_its_port() -> None:
    template = json.loads((ROOT / "deploy/codespaces/.devcontainer/devcontainer.json").read_text())
    image = (ROOT / "deploy/images/Dockerfile").read_text()
    assert template["forwardPorts"] == [PORT]
    command = " ".join([WORKER[0], "-I", "-m", launcher_module.__name__])
    assert command in template["postStartCommand"]
    assert (
        f"useradd --uid 1000 --user-group --no-create-home --home-dir /home/agent --shell /bin/bash {template['remoteUser']}"
        in image
    )
