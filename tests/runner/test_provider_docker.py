"""The Docker provider against a real engine, in the image that the repository builds."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest

from docker_host import docker
from docker_images import worker_image, worker_images
from provider_contract import ProviderContract
from remote_claude.runner.providers import ComputeProvider, SandboxUnavailable
from remote_claude.runner.providers.docker import RUNNER, DockerProvider
from remote_claude.runner.providers.settings import DockerSettings


@pytest.fixture(scope="module")
def engine() -> Iterator[dict[str, str]]:
    with worker_images() as environment:
        before = {key: os.environ.get(key) for key in environment}
        os.environ.update(environment)
        yield environment
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


@pytest.fixture
def runner() -> str:
    return f"runner_{uuid.uuid4().hex}"


@pytest.mark.usefixtures("engine")
class TestContract(ProviderContract):
    python: ClassVar[str] = "/opt/worker/bin/python"

    @pytest.fixture
    async def provider(self, runner: str) -> AsyncIterator[ComputeProvider]:
        docker = DockerProvider(runner, DockerSettings(image=worker_image()))
        yield docker
        await docker.close()

    async def test_a_container_is_locked_down(self, provider: ComputeProvider, name: str) -> None:
        script = """import json, os, socket
status = dict(line.rstrip().split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": int(status["CapBnd"], 16),
    "seccomp": int(status["Seccomp"]),
    "no_new_privileges": int(status["NoNewPrivs"]),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "writable": [path for path in ("/", "/etc", "/usr", "/opt/worker", "/run") if os.access(path, os.W_OK)],
    "docker": os.path.exists("/var/run/docker.sock"),
}))"""
        assert await self.said(provider, self.script(name, script)) == {
            "uid": 1000,
            "capabilities": 0,
            "seccomp": 2,
            "no_new_privileges": 1,
            "interfaces": ["lo"],
            "writable": [],
            "docker": False,
        }

    async def test_the_workspace_is_held_to_its_size(self, provider: ComputeProvider, name: str) -> None:
        end = await self.ended(provider, self.shell(name, "head -c 64M /dev/zero > big", disk_mib=64))
        assert end.code == 1
        assert "No space left" in end.output

    async def test_a_killed_container_is_seen(
        self, provider: ComputeProvider, name: str, engine: dict[str, str]
    ) -> None:
        started = await provider.launch(self.shell(name, "sleep 1000"))
        docker(engine, "docker", "kill", started.handle)
        assert (await provider.wait(name)).reason == "killed"

    async def test_what_an_earlier_process_left_is_removed(
        self, provider: ComputeProvider, name: str, runner: str, engine: dict[str, str]
    ) -> None:
        started = await provider.launch(self.shell(name, "sleep 1000"))
        following = DockerProvider(runner, DockerSettings(image=worker_image()))
        with pytest.raises(Exception, match="still exists"):
            await following.launch(self.shell(name, "true"))
        assert await following.recover() == [name]
        assert started.handle not in docker(engine, "docker", "ps", "--all", "--quiet", "--no-trunc")
        assert (await provider.wait(name)).reason == "killed"
        await following.close()

    async def test_labels_say_whose_a_container_is(
        self, provider: ComputeProvider, name: str, runner: str, engine: dict[str, str]
    ) -> None:
        started = await provider.launch(self.shell(name, "sleep 1000", labels={"task": "task_1"}))
        said: Any = json.loads(docker(engine, "docker", "inspect", started.handle))
        labels = said[0]["Config"]["Labels"]
        assert (labels[RUNNER], labels["io.remote-claude.task"]) == (runner, "task_1")


async def test_a_missing_image_is_named(engine: dict[str, str], runner: str) -> None:
    provider = DockerProvider(runner, DockerSettings(image="remote-claude/missing"))
    with pytest.raises(SandboxUnavailable, match=r"deploy/images/build\.sh worker"):
        await provider.check()
    await provider.close()


async def test_a_missing_engine_is_named(monkeypatch: pytest.MonkeyPatch, runner: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    provider = DockerProvider(runner, DockerSettings())
    with pytest.raises(SandboxUnavailable, match="DOCKER_HOST"):
        await provider.check()
    await provider.close()
