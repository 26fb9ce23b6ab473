"""The proxy before Docker's socket: the provider works through it, and Docker's own command line gets nothing more."""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from docker_host import SYSTEM_PATH
from docker_images import worker_image, worker_images
from remote_claude.runner.providers import LaunchSpec, SandboxLimits, UnixSocket
from remote_claude.runner.providers.docker import DockerProvider
from remote_claude.runner.providers.docker_proxy import DockerProxy, refusal_of_create, serve
from remote_claude.runner.providers.settings import DockerSettings
from sandboxes import listener

RUNNER = f"runner_{uuid.uuid4().hex}"
LIMITS = SandboxLimits(vcpu_millis=1000, memory_mib=128, duration_s=60, disk_mib=16)


@pytest.fixture(scope="module")
def engine() -> Iterator[dict[str, str]]:
    with worker_images() as environment:
        yield environment


@pytest.fixture
async def proxied(engine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A folder with the proxy's socket, which `DOCKER_HOST` leads to."""
    socket = Path((engine.get("DOCKER_HOST") or "unix:///var/run/docker.sock").removeprefix("unix://"))
    with TemporaryDirectory(prefix="rc-") as name:
        folder = Path(name)
        proxy = DockerProxy(socket, sockets=folder, network="none", runtime=None)
        running = await serve(proxy, folder / "docker.sock")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/docker.sock")
        yield folder
        await running.cleanup()
        await proxy.close()


@pytest.mark.timeout(300)
async def test_a_sandbox_runs_and_reaches_the_socket_bound_into_it(proxied: Path) -> None:
    provider = DockerProvider(RUNNER, DockerSettings(image=worker_image()))
    script = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/rclaude/runner.sock'); print(s.recv(99))"
    try:
        await provider.check()
        async with listener(proxied / "runner.sock") as path:
            launch = LaunchSpec(
                name=f"task-{uuid.uuid4().hex}",
                argv=("/opt/worker/bin/python", "-c", script),
                limits=LIMITS,
                transport=UnixSocket(path),
            )
            await provider.launch(launch)
            end = await provider.wait(launch.name)
        assert (end.code, end.output.strip()) == (0, "b'hello from outside'")
        killed = LaunchSpec(name=f"task-{uuid.uuid4().hex}", argv=("/bin/sleep", "1000"), limits=LIMITS)
        await provider.launch(killed)
        assert [one.name for one in await provider.list()] == [killed.name]
        await provider.terminate(killed.name)
        assert await provider.list() == []
    finally:
        await provider.close()


@pytest.mark.timeout(300)
async def test_dockers_command_line_gets_no_container_of_its_own_and_no_look_at_others(
    engine: dict[str, str], proxied: Path
) -> None:
    image = worker_image()
    through = {**os.environ, **engine, "DOCKER_HOST": os.environ["DOCKER_HOST"], "PATH": SYSTEM_PATH}
    commands: tuple[tuple[str, ...], ...] = (
        ("run", "--rm", image, "true"),
        ("run", "--rm", "--name", "rclaude-task", "--privileged", image, "id"),
        ("run", "--rm", "--name", "rclaude-task", "--volume", "/:/host", image, "id"),
        ("ps", "--all"),
        ("volume", "ls"),
        ("build", "-"),
    )
    for tried in commands:
        ran = await _docker(through, *tried)
        assert ran.returncode != 0, tried
        assert "refused by the proxy" in ran.stderr, (tried, ran.stderr)

    direct = {**os.environ, **engine, "PATH": SYSTEM_PATH}
    other = (await _docker(direct, "create", image, "true")).stdout.strip()
    try:
        on_another: tuple[tuple[str, ...], ...] = (
            ("inspect", other),
            ("start", other),
            ("rm", "--force", other),
            ("exec", other, "id"),
        )
        for tried in on_another:
            ran = await _docker(through, *tried)
            assert "refused by the proxy" in ran.stderr, (tried, ran.stderr)
    finally:
        await _docker(direct, "rm", "--force", other)


async def _docker(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:

    return await asyncio.to_thread(
        subprocess.run,
        ["docker", *arguments],
        env=environment | {"DOCKER_BUILDKIT": "0"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def _sandbox(folder: Path, **host: Any) -> dict[str, Any]:
    """What the provider asks for, with changes of its `HostConfig`."""
    return {
        "Image": "remote-claude/worker",
        "User": "1000:1000",
        "Labels": {"io.remote-claude.runner": RUNNER, "io.remote-claude.name": "task-1"},
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "IpcMode": "private",
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
            **dict.fromkeys(("PidsLimit", "Memory", "MemorySwap", "NanoCpus", "ShmSize"), 100_000_000),
            **host,
        },
    }


@pytest.mark.parametrize(
    "host",
    [
        {"Privileged": True},
        {"Binds": ["/:/host"]},
        {"Binds": ["/etc/passwd:/run/rclaude/runner.sock:ro"]},
        {"Binds": ["{folder}/file:/run/rclaude/runner.sock:ro"]},
        {"Binds": ["{folder}/link:/run/rclaude/runner.sock:ro"]},
        {"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]},
        {"NetworkMode": "host"},
        {"PidMode": "host"},
        {"CapAdd": ["SYS_ADMIN"]},
        {"SecurityOpt": ["seccomp=unconfined"]},
        {"Runtime": "other"},
        {"Memory": 0},
        {"Devices": [{"PathOnHost": "/dev/sda"}]},
    ],
)
def test_a_container_that_is_no_sandbox_is_refused(tmp_path: Path, host: dict[str, Any]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/run")
    if "Binds" in host:
        host = {"Binds": [bind.replace("{folder}", str(tmp_path)) for bind in host["Binds"]]}

    def refusal(body: dict[str, Any]) -> str | None:
        return refusal_of_create(body, sockets=tmp_path, network="none", runtime=None)

    assert refusal(_sandbox(tmp_path)) is None
    assert refusal(_sandbox(tmp_path, **host)) is not None
    assert refusal({**_sandbox(tmp_path), "User": "0:0"}) is not None
    assert refusal({**_sandbox(tmp_path), "Labels": {}}) is not None
