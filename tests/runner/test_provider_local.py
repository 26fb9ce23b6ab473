"""The local provider: what a launch promises, with walls and without."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from remote_claude.runner.providers import (
    HomeBusy,
    Isolation,
    LaunchSpec,
    Limits,
    LocalProvider,
    SandboxExists,
    SandboxFailed,
    SandboxUnknown,
)
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


def left_over(home: Path, unique: str) -> list[object]:
    """Folders, processes and control groups of a sandbox."""
    return [*(home / "sandboxes").glob(unique), *processes_with(unique), *control_groups(unique)]


async def test_a_machine_that_can_isolate_passes_the_check(provider: LocalProvider) -> None:
    await provider.check()
    assert await provider.list() == []


async def test_exit_code_and_end_of_output_come_back(provider: LocalProvider) -> None:
    end = await outcome(provider, spec("seq 10000; echo last words >&2; exit 7"))
    assert (end.code, end.reason) == (7, "exited")
    assert end.output.endswith("10000\nlast words\n")
    assert len(end.output) <= 8192


async def test_what_a_command_starts_cannot_end_it(walled: LocalProvider) -> None:
    end = await outcome(walled, spec("sh -c 'kill -9 1; kill -STOP 1; kill -9 $PPID'; kill -9 $$; exit 5"))
    assert (end.code, end.reason) == (5, "exited")


async def test_workspace_and_home_are_empty_writable_and_one_s_own(provider: LocalProvider) -> None:
    script = """import json, os
for folder in (".", os.environ["HOME"]):
    assert os.listdir(folder) == []
    open(os.path.join(folder, "mine"), "w").write("x")
    assert os.stat(folder).st_uid == os.getuid()
print(json.dumps(os.path.basename(os.getcwd())))"""
    assert await told(provider, spec(script)) == "workspace"


async def test_only_the_given_environment_is_there(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "do-not-tell")
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    env = await told(provider, spec(script, env={"GIVEN": "a value\nof two lines"}))
    assert env["GIVEN"] == "a value\nof two lines"
    assert env["TZ"] == "UTC"
    assert "HOST_SECRET" not in env


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_the_socket_of_the_launch_is_reachable(isolation: Isolation, tmp_path: Path) -> None:
    """Also below a home whose path is longer than that of a socket can be."""
    provider = LocalProvider(tmp_path / ("x" * 100), isolation)
    script = """import json, os, socket
client = socket.socket(socket.AF_UNIX)
client.connect(os.environ["RCLAUDE_SOCKETS"] + "/run.sock")
print(json.dumps(client.recv(100).decode()))"""
    async with listener(tmp_path / "host.sock") as path:
        assert await told(provider, spec(script, sockets={"run": path})) == "hello from outside"
    await provider.close()


async def test_a_readable_path_is_seen_at_its_place(walled: LocalProvider, tmp_path: Path) -> None:
    tool = tmp_path / "deep" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho works\n")
    tool.chmod(0o755)
    end = await outcome(walled, spec(f"{tool}; echo no >> {tool}", readable=(tool,)))
    assert end.output.startswith("works\n")
    assert tool.read_text().endswith("works\n")


async def test_python_git_and_the_worker_s_package_are_there(walled: LocalProvider) -> None:
    script = """set -e
git init -q repo && cd repo && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first
git log --format=%s; python3 -c 'print("py")'; id -un; hostname; date +%Z"""
    end = await outcome(walled, spec(script))
    assert end.output.split() == ["first", "py", "agent", "sandbox", "UTC"]
    assert (await outcome(walled, spec("import remote_claude.runner, structlog"))).code == 0


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
    assert [started] == await provider.list() == [await provider.describe(unique)]
    await provider.terminate(unique)
    assert left_over(tmp_path, unique) == []
    assert (await provider.wait(unique)).reason == "killed"
    assert await provider.list() == []
    assert await provider.describe(unique) is None
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
    os.kill(started.pid, signal.SIGKILL)
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


async def test_launching_under_a_name_in_use_is_refused_until_it_has_ended(provider: LocalProvider) -> None:
    await provider.launch(spec("sleep 1000"))
    with pytest.raises(SandboxExists) as refusal:
        await provider.launch(spec("true"))
    assert refusal.value.code == "sandbox_exists"
    await provider.terminate("task-1")
    assert (await outcome(provider, spec("exit 5"))).code == 5


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


async def test_an_unknown_name_is_said_so(provider: LocalProvider) -> None:
    with pytest.raises(SandboxUnknown):
        await provider.wait("nobody")
    with pytest.raises(SandboxUnknown):
        await provider.measure("nobody")


async def test_a_launch_without_its_files_fails_and_leaves_nothing(
    provider: LocalProvider, tmp_path: Path
) -> None:
    unique = uuid.uuid4().hex
    with pytest.raises(SandboxFailed, match="should be readable inside"):
        await provider.launch(spec("true", unique, readable=(tmp_path / "missing",)))
    with pytest.raises(SandboxFailed, match="should be a socket inside"):
        await provider.launch(spec("true", unique, sockets={"run": tmp_path}))
    with pytest.raises(SandboxFailed):
        await provider.wait(unique)
    assert not (tmp_path / "sandboxes" / unique).exists()
    assert not control_groups(unique)


async def test_a_command_that_is_not_there_never_started(walled: LocalProvider) -> None:
    launch = LaunchSpec(name="task-1", argv=("/no/such/worker",), limits=spec("true").limits)
    with pytest.raises(SandboxFailed, match="/no/such/worker"):
        await outcome(walled, launch)


@pytest.mark.parametrize("name", ["", "../escape", "UPPER", "a/b", "-dash", "a" * 128])
def test_a_name_that_is_not_a_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a name is"):
        spec("true", name)


@pytest.mark.parametrize("limit", ["vcpu_millis", "memory_mib", "duration_s", "processes", "disk_mib"])
def test_a_limit_is_positive(limit: str) -> None:
    good = {"vcpu_millis": 1, "memory_mib": 1, "duration_s": 1}
    with pytest.raises(ValueError, match=limit):
        Limits(**(good | {limit: 0}))


async def test_what_is_measured_goes_on_being_told_after_the_end(provider: LocalProvider) -> None:
    await provider.launch(
        spec("import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass")
    )
    await provider.wait("task-1")
    measured = await provider.measure("task-1")
    assert measured == await provider.measure("task-1")
    if measured.cpu_ms is not None:
        assert measured.cpu_ms >= 200


async def test_two_providers_do_not_share_a_home(tmp_path: Path) -> None:
    first, second = LocalProvider(tmp_path, "none"), LocalProvider(tmp_path, "none")
    await first.reap()
    with pytest.raises(HomeBusy):
        await second.reap()
    await first.close()
    assert await second.reap() == []
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
        assert await following.reap() == [unique]
        assert left_over(tmp_path, unique) == []
        assert not (tmp_path / "dead.sock").exists()
        assert (tmp_path / "alive.sock").is_socket()
        await following.close()
