"""The local provider: the promises of a launch, isolated and unisolated."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from provider_contract import ProviderContract
from remote_claude.runner.providers import ComputeProvider, SandboxFailed, SandboxLimits, UnixSocket
from remote_claude.runner.providers.local import HomeBusy, Isolation, LocalProvider
from sandboxes import control_groups, has_begun, listener, outcome, processes_with, spec, told, until

ISOLATIONS: tuple[Isolation, ...] = ("bubblewrap", "none")
SCENARIOS = Path(__file__).parents[1] / "sandbox_scenarios.py"


@pytest.fixture(params=["bubblewrap", "none"])
async def provider(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalProvider]:
    local = LocalProvider(tmp_path, request.param)
    yield local
    await local.close()


@pytest.fixture
async def walled(tmp_path: Path) -> AsyncIterator[LocalProvider]:
    local = LocalProvider(tmp_path)
    yield local
    await local.close()


@pytest.mark.parametrize("isolation", ISOLATIONS)
class TestContract(ProviderContract):
    @pytest.fixture
    async def provider(self, isolation: Isolation, tmp_path: Path) -> AsyncIterator[ComputeProvider]:
        local = LocalProvider(tmp_path, isolation)
        yield local
        await local.close()


def left_over(home: Path, unique: str) -> list[object]:
    """Folders, processes and control groups of a sandbox."""
    return [*(home / "sandboxes").glob(unique), *processes_with(unique), *control_groups(unique)]


async def test_what_a_command_starts_cannot_end_it(walled: LocalProvider) -> None:
    end = await outcome(walled, spec("sh -c 'kill -9 1; kill -STOP 1; kill -9 $PPID'; kill -9 $$; exit 5"))
    assert (end.code, end.reason) == (5, "exited")


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_the_socket_of_the_launch_is_reachable(isolation: Isolation, tmp_path: Path) -> None:
    """Also below a home whose path is longer than that of a socket can be."""
    provider = LocalProvider(tmp_path / ("x" * 100), isolation)
    script = """import json, os, socket
client = socket.socket(socket.AF_UNIX)
client.connect(os.environ["RCLAUDE_RUNNER_URL"].removeprefix("unix://"))
print(json.dumps(client.recv(100).decode()))"""
    async with listener(tmp_path / "host.sock") as path:
        assert await told(provider, spec(script, transport=UnixSocket(path))) == "hello from outside"
    await provider.close()


async def test_a_readable_path_is_seen_at_its_place(tmp_path: Path) -> None:
    tool = tmp_path / "deep" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho works\n")
    tool.chmod(0o755)
    local = LocalProvider(tmp_path, readable=(tool,))
    end = await outcome(local, spec(f"{tool}; echo no >> {tool}"))
    assert end.output.startswith("works\n")
    assert tool.read_text().endswith("works\n")


async def test_python_git_and_the_worker_s_package_are_there(walled: LocalProvider) -> None:
    script = """set -e
git init -q repo && cd repo && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first
git log --format=%s; python3 -c 'print("py")'; id -un; hostname; date +%Z"""
    end = await outcome(walled, spec(script))
    assert end.output.split() == ["first", "py", "agent", "sandbox", "UTC"]
    assert (await outcome(walled, spec("import remote_claude.worker.main"))).code == 0


async def test_the_deadline_ends_it(provider: LocalProvider, tmp_path: Path) -> None:
    unique = uuid.uuid4().hex
    end = await outcome(
        provider, spec(f"trap '' TERM; : {unique}; sleep 1000 & wait", unique, duration_s=0.3)
    )
    assert end.reason == "deadline"
    assert left_over(tmp_path, unique) == []


async def test_terminating_ends_children_that_hide_and_ignore(
    provider: LocalProvider, tmp_path: Path
) -> None:
    unique = uuid.uuid4().hex
    stubborn = f'trap "" TERM HUP INT; : {unique}; while :; do sleep 1; done'
    script = f"setsid sh -c '{stubborn}' & nohup sh -c '{stubborn}' & (sh -c '{stubborn}' &) ; echo up > flag; wait"
    started = await provider.launch(spec(script, unique))
    await until(lambda: len(processes_with(f": {unique}")) >= 3, "the children run")
    assert [started] == await provider.list()
    await provider.terminate(unique)
    assert left_over(tmp_path, unique) == []
    assert (await provider.wait(unique)).reason == "killed"
    assert await provider.list() == []
    await provider.terminate(unique)
    await provider.terminate("never-launched")


async def test_what_the_command_left_in_the_background_ends_with_it(
    provider: LocalProvider, tmp_path: Path
) -> None:
    unique = uuid.uuid4().hex
    script = f"setsid sh -c 'trap \"\" TERM; : {unique}; sleep 1000' & (setsid sleep 1000 &); exit 3"
    end = await outcome(provider, spec(script, unique))
    assert (end.code, end.reason) == (3, "exited")
    assert left_over(tmp_path, unique) == []


async def test_killing_the_first_process_ends_all(provider: LocalProvider, tmp_path: Path) -> None:
    unique = uuid.uuid4().hex
    started = await provider.launch(spec(f"setsid sleep 1000 & : {unique}; wait", unique))
    os.kill(int(started.handle), signal.SIGKILL)
    end = await provider.wait(unique)
    assert (end.code, end.reason) == (137, "killed")
    assert left_over(tmp_path, unique) == []


async def test_killing_any_process_of_the_chain_ends_all(walled: LocalProvider, tmp_path: Path) -> None:
    for victim in range(len(await _chain(walled, uuid.uuid4().hex))):
        unique = uuid.uuid4().hex
        os.kill((await _chain(walled, unique))[victim], signal.SIGKILL)
        assert (await walled.wait(unique)).reason == "killed"
        assert left_over(tmp_path, unique) == []


async def _chain(provider: LocalProvider, unique: str) -> list[int]:
    """The processes of a running sandbox, from the outermost on."""
    await provider.launch(spec(f"setsid sleep 1000 & : {unique}; sleep 1000", unique))
    await until(lambda: has_begun(unique), "the command has begun")
    return sorted(processes_with(unique))


@pytest.mark.parametrize("groups", [None, ()], ids=["control groups", "no control groups"])
async def test_a_launch_that_is_given_up_leaves_nothing(groups: tuple[()] | None, tmp_path: Path) -> None:
    for isolation in ISOLATIONS:
        local = LocalProvider(tmp_path, isolation, groups=groups)
        for turns in range(0, 60, 3):
            unique = uuid.uuid4().hex
            launch = asyncio.create_task(local.launch(spec(f": {unique}; sleep 1000", unique)))
            for _ in range(turns):
                await asyncio.sleep(0)
            launch.cancel()
            await asyncio.wait({launch})
            await local.terminate(unique)
            assert left_over(tmp_path, unique) == []
        await local.close()


async def test_a_launch_without_its_files_fails_and_leaves_nothing(
    provider: LocalProvider, tmp_path: Path
) -> None:
    unique = uuid.uuid4().hex
    with pytest.raises(SandboxFailed, match="should be a socket inside"):
        await provider.launch(spec("true", unique, transport=UnixSocket(tmp_path)))
    with pytest.raises(SandboxFailed):
        await provider.wait(unique)
    assert not (tmp_path / "sandboxes" / unique).exists()
    assert not control_groups(unique)


@pytest.mark.parametrize("name", ["", "../escape", "UPPER", "a/b", "-dash", "a" * 128])
def test_a_name_that_is_not_a_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a name is"):
        spec("true", name)


@pytest.mark.parametrize("limit", ["vcpu_millis", "memory_mib", "duration_s", "processes", "disk_mib"])
def test_a_limit_is_positive(limit: str) -> None:
    good = {"vcpu_millis": 1, "memory_mib": 1, "duration_s": 1}
    with pytest.raises(ValueError, match=limit):
        SandboxLimits(**(good | {limit: 0}))


async def test_two_providers_do_not_share_a_home(tmp_path: Path) -> None:
    first, second = LocalProvider(tmp_path, "none"), LocalProvider(tmp_path, "none")
    await first.recover()
    with pytest.raises(HomeBusy):
        await second.recover()
    await first.close()
    assert await second.recover() == []
    await second.close()


@pytest.mark.parametrize("isolation", ["bubblewrap", "none"])
async def test_a_killed_provider_leaves_nothing_once_the_next_has_reaped(
    isolation: Isolation, tmp_path: Path
) -> None:
    unique = uuid.uuid4().hex
    async with listener(tmp_path / "alive.sock"):
        scenario = (str(SCENARIOS), "wait_to_be_killed", str(tmp_path), unique, isolation)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *scenario, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b'"up"\n'
        await until(lambda: has_begun(unique), "the command has begun")
        process.kill()
        await process.wait()
        if isolation == "bubblewrap":
            await until(lambda: not processes_with(unique), "the sandbox ended with its provider")
        following = LocalProvider(tmp_path, isolation)
        assert await following.recover() == [unique]
        assert left_over(tmp_path, unique) == []
        await following.close()
