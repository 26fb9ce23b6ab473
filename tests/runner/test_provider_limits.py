"""Limits hold: memory, processor, processes, disk, output; and what is left is nothing."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from remote_claude.runner.providers.local import LocalProvider
from sandboxes import outcome, processes_with, spec, told, until


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[LocalProvider]:
    local = LocalProvider(tmp_path)
    yield local
    await local.close()


def needs_memory_limit(provider: LocalProvider) -> None:
    if not provider.capabilities.memory_limit:
        pytest.skip("this machine lets us make no memory control group, and the provider says so")


async def test_a_memory_hog_is_out_of_memory(provider: LocalProvider) -> None:
    needs_memory_limit(provider)
    end = await outcome(provider, spec("import os; hog = b'x' * (1 << 30)", memory_mib=64))
    assert (end.code, end.reason) == (137, "out_of_memory")
    peak = (await provider.measure("task-1")).memory_peak_mib
    assert peak is not None
    assert 32 <= peak <= 64


async def test_a_child_that_takes_all_memory_does_not_end_the_command(provider: LocalProvider) -> None:
    needs_memory_limit(provider)
    script = "python3 -c 'x = bytearray(1 << 30)'; echo child ended with $?; exit 0"
    end = await outcome(provider, spec(script, memory_mib=64))
    assert (end.code, end.reason) == (0, "exited")
    assert "child ended with 137" in end.output


async def test_files_count_as_memory(provider: LocalProvider) -> None:
    needs_memory_limit(provider)
    end = await outcome(provider, spec("head -c 100M /dev/zero > big", memory_mib=64, disk_mib=1024))
    assert end.reason == "out_of_memory"


async def test_a_fork_bomb_is_bounded_and_ends(provider: LocalProvider, tmp_path: Path) -> None:
    unique = uuid.uuid4().hex
    bomb = f"import os  # {unique}\nwhile True:\n try: os.fork()\n except OSError: pass"
    await provider.launch(spec(bomb, unique, processes=40))
    await until(lambda: len(processes_with(unique)) > 30, "the bomb went off")
    assert len(processes_with(unique)) <= 40 + 1  # bubblewrap's watcher is outside of the count
    await provider.terminate(unique)
    assert processes_with(unique) == []


async def test_a_sandbox_has_as_many_processes_as_its_limit_says(provider: LocalProvider) -> None:
    script = """import json, os, time
children = 0
try:
    while children < 200:
        if os.fork() == 0:
            time.sleep(1000)
        children += 1
except BlockingIOError:
    pass
print(json.dumps(children))"""
    assert 20 <= await told(provider, spec(script, processes=40)) < 40


async def test_two_sandboxes_do_not_count_against_each_other(provider: LocalProvider) -> None:
    script = "for i in $(seq 25); do sleep 1000 & done; echo all run"
    await provider.launch(spec(f"{script}; wait", "first", processes=40))
    end = await outcome(provider, spec(script, "second", processes=40))
    assert (end.code, end.output) == (0, "all run\n")
    assert [instance.name for instance in await provider.list()] == ["first"]


async def test_what_can_be_written_is_bounded_everywhere(provider: LocalProvider) -> None:
    script = """import json, os
written, chunk = {}, b"x" * (1 << 16)
for folder in ("/workspace", os.environ["HOME"], "/tmp", "/dev/shm"):
    size = 0
    try:
        with open(folder + "/big", "wb", buffering=0) as file:
            while size < 1 << 30:
                size += file.write(chunk)
    except OSError as error:
        written[folder] = (size >> 20, error.strerror)
print(json.dumps(written))"""
    full = "No space left on device"
    assert await told(provider, spec(script, disk_mib=64)) == {
        "/workspace": [32, full],
        "/home/agent": [16, full],
        "/tmp": [8, full],
        "/dev/shm": [8, full],
    }


async def test_no_other_place_is_writable(provider: LocalProvider) -> None:
    script = """import json, os, sys
def writable(folder):
    try:
        with open(os.path.join(folder, "probe"), "w"):
            return True
    except OSError:
        return False
skipped = ("/proc", "/usr", sys.prefix, sys.base_prefix)  # the last three are one read-only mount each
found = {folder for folder in skipped if writable(folder)}
for folder, folders, _ in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(folder, f) not in skipped]
    if writable(folder):
        found.add(folder)
tops = ("/dev/shm", "/home/agent", "/tmp", "/workspace")
print(json.dumps(sorted(folder for folder in found if not folder.startswith(tops))))"""
    assert await told(provider, spec(script)) == []


async def test_processor_time_is_held_to_the_quota(provider: LocalProvider) -> None:
    script = "for i in 1 2 3; do while :; do :; done & done; sleep 1"
    end = await outcome(provider, spec(script, vcpu_millis=500))
    assert end.code == 0
    measured = await provider.measure("task-1")
    if measured.cpu_ms is None:
        pytest.skip("this machine lets us make no control group to measure with")
    assert measured.cpu_ms <= measured.wall_ms * 0.5 + 150  # a period of the quota, and the last tick of each


async def test_a_flood_of_output_is_read_and_forgotten(provider: LocalProvider) -> None:
    end = await outcome(provider, spec("yes | head -c 3000000; echo; echo the end"))
    assert end.output.endswith("the end\n")
    assert len(end.output) <= 8192
