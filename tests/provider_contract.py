"""What every compute provider promises, as tests: a provider passes them by inheritance.

class TestDocker(ProviderContract):
    @pytest.fixture
    async def provider(self) -> AsyncIterator[ComputeProvider]: ...
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, ClassVar

import pytest

from remote_claude.runner.providers import (
    ComputeProvider,
    LaunchSpec,
    SandboxExists,
    SandboxExit,
    SandboxFailed,
    SandboxLimits,
    SandboxUnknown,
    UnixSocket,
    WebSocketAddress,
)
from sandboxes import listener


class ProviderContract:
    """Subclasses give the fixture `provider`, and where Python is in their sandboxes."""

    python: ClassVar[str] = sys.executable

    @pytest.fixture
    def name(self) -> str:
        return f"task-{uuid.uuid4().hex}"

    def shell(self, name: str, script: str, **changes: Any) -> LaunchSpec:
        """A launch of a shell script."""
        return self._spec(name, ("/bin/sh", "-c", script), changes)

    def script(self, name: str, script: str, **changes: Any) -> LaunchSpec:
        """A launch of Python."""
        return self._spec(name, (self.python, "-c", script), changes)

    def _spec(self, name: str, argv: tuple[str, ...], changes: dict[str, Any]) -> LaunchSpec:
        limits = {"vcpu_millis": 1000, "memory_mib": 256, "duration_s": 60, "disk_mib": 64}
        given = limits | {key: changes.pop(key) for key in (*limits, "processes") if key in changes}
        return LaunchSpec(name=name, argv=argv, limits=SandboxLimits(**given), **changes)

    async def ended(self, provider: ComputeProvider, spec: LaunchSpec) -> SandboxExit:
        await provider.launch(spec)
        return await provider.wait(spec.name)

    async def said(self, provider: ComputeProvider, spec: LaunchSpec) -> Any:
        """The JSON of the last line of output, after a good end."""
        end = await self.ended(provider, spec)
        assert (end.reason, end.code) == ("exited", 0), end.output
        return json.loads(end.output.splitlines()[-1])

    async def test_a_machine_that_can_run_sandboxes_passes_the_check(self, provider: ComputeProvider) -> None:
        await provider.check()
        assert await provider.list() == []

    async def test_exit_code_and_end_of_output_come_back(self, provider: ComputeProvider, name: str) -> None:
        end = await self.ended(provider, self.shell(name, "seq 10000; exit 7"))
        assert (end.code, end.reason) == (7, "exited")
        assert end.output.endswith("\n9999\n10000\n")
        assert len(end.output) <= 8192
        end = await self.ended(provider, self.shell(f"{name}-2", "echo to standard error >&2"))
        assert end.output == "to standard error\n"

    async def test_workspace_and_home_are_empty_writable_and_its_own(
        self, provider: ComputeProvider, name: str
    ) -> None:
        script = """import json, os
for folder in (".", os.environ["HOME"]):
    assert os.listdir(folder) == [], folder
    open(os.path.join(folder, "mine"), "w").write("x")
    assert os.stat(folder).st_uid == os.getuid()
print(json.dumps(os.path.basename(os.getcwd())))"""
        assert await self.said(provider, self.script(name, script)) == "workspace"

    async def test_only_the_given_environment_is_there(
        self, provider: ComputeProvider, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOST_SECRET", "do-not-tell")
        script = "import json, os; print(json.dumps(dict(os.environ)))"
        env = await self.said(provider, self.script(name, script, env={"GIVEN": "a value\nof two lines"}))
        assert env["GIVEN"] == "a value\nof two lines"
        assert "HOST_SECRET" not in env
        assert "RCLAUDE_RUNNER_URL" not in env

    async def test_a_worker_reaches_its_runner(self, provider: ComputeProvider, name: str) -> None:
        if UnixSocket not in provider.transports:
            url = "ws://gateway.invalid/v1/workers/runner_1"
            script = "import json, os; print(json.dumps(os.environ['RCLAUDE_RUNNER_URL']))"
            launch = self.script(name, script, transport=WebSocketAddress(url))
            assert await self.said(provider, launch) == url
            return
        script = """import json, os, socket
client = socket.socket(socket.AF_UNIX)
client.connect(os.environ["RCLAUDE_RUNNER_URL"].removeprefix("unix://"))
print(json.dumps(client.recv(100).decode()))"""
        with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as folder:
            async with listener(Path(folder) / "run.sock") as path:
                launch = self.script(name, script, transport=UnixSocket(path))
                assert await self.said(provider, launch) == "hello from outside"

    async def test_the_deadline_ends_it(self, provider: ComputeProvider, name: str) -> None:
        script = "trap '' TERM; sleep 1000 & wait"
        end = await self.ended(provider, self.shell(name, script, duration_s=0.3))
        assert end.reason == "deadline"
        assert await provider.list() == []

    async def test_terminating_ends_children_that_hide_and_ignore(
        self, provider: ComputeProvider, name: str
    ) -> None:
        stubborn = 'trap "" TERM HUP INT; while :; do sleep 1; done'
        started = await provider.launch(
            self.shell(name, f"setsid sh -c '{stubborn}' & nohup sh -c '{stubborn}' & wait")
        )
        assert started.name == name
        assert [started] == await provider.list()
        await provider.terminate(name)
        assert (await provider.wait(name)).reason == "killed"
        assert await provider.list() == []
        await provider.terminate(name)
        await provider.terminate("never-launched")

    async def test_what_the_command_left_in_the_background_ends_with_it(
        self, provider: ComputeProvider, name: str
    ) -> None:
        script = "setsid sh -c 'trap \"\" TERM; sleep 1000' & (setsid sleep 1000 &); exit 3"
        end = await self.ended(provider, self.shell(name, script))
        assert (end.code, end.reason) == (3, "exited")
        assert await provider.list() == []

    async def test_a_name_in_use_is_refused_until_it_has_ended(
        self, provider: ComputeProvider, name: str
    ) -> None:
        await provider.launch(self.shell(name, "sleep 1000"))
        with pytest.raises(SandboxExists) as refusal:
            await provider.launch(self.shell(name, "true"))
        assert refusal.value.code == "sandbox_exists"
        await provider.terminate(name)
        assert (await self.ended(provider, self.shell(name, "exit 5"))).code == 5

    async def test_a_launch_that_is_given_up_leaves_nothing(
        self, provider: ComputeProvider, name: str
    ) -> None:
        for turns in (0, 1, 5, 20):
            launch = asyncio.create_task(provider.launch(self.shell(f"{name}-{turns}", "sleep 1000")))
            for _ in range(turns):
                await asyncio.sleep(0)
            launch.cancel()
            await asyncio.wait({launch})
            await provider.terminate(f"{name}-{turns}")
            assert await provider.list() == []

    async def test_an_unknown_name_is_refused(self, provider: ComputeProvider) -> None:
        with pytest.raises(SandboxUnknown):
            await provider.wait("never-launched")
        with pytest.raises(SandboxUnknown):
            await provider.measure("never-launched")

    async def test_a_command_that_does_not_exist_never_started(
        self, provider: ComputeProvider, name: str
    ) -> None:
        try:
            end = await self.ended(provider, self._spec(name, ("/no/such/worker",), {}))
            code, why = end.code, end.output  # without isolation a shell starts it
        except SandboxFailed as error:
            code, why = 127, str(error)
        assert code != 0
        assert "/no/such/worker" in why

    async def test_use_can_be_read_after_the_end(self, provider: ComputeProvider, name: str) -> None:
        script = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
        await self.ended(provider, self.script(name, script))
        measured = await provider.measure(name)
        assert measured == await provider.measure(name)
        assert measured.wall_ms >= 200
        if measured.cpu_ms is not None:
            assert measured.cpu_ms >= 200

    async def test_memory_beyond_its_limit_ends_it(self, provider: ComputeProvider, name: str) -> None:
        if not provider.capabilities.memory_limit:
            return
        end = await self.ended(provider, self.script(name, "x = b'x' * (1 << 30)", memory_mib=64))
        assert end.reason == "out_of_memory" or "MemoryError" in end.output

    async def test_processes_are_limited(self, provider: ComputeProvider, name: str) -> None:
        script = """import json, os, time
started = 0
for _ in range(100):
    try:
        if os.fork() == 0:
            time.sleep(1000)
        started += 1
    except OSError:
        break
print(json.dumps(started), flush=True)
os._exit(0)"""
        assert await self.said(provider, self.script(name, script, processes=20)) < 25
