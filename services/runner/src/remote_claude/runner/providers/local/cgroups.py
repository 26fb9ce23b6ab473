"""Control groups, versions 1 and 2: limits, measures and a sure end, where this machine lets us.

Groups are made beside or below our own, never elsewhere: version 1 hierarchies take a child of our own
group; version 2 takes a child of the nearest group above us that may give controllers to children.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_WANTED = ("memory", "cpu", "cpuacct", "pids")
_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A place where groups can be made, and what they can control there."""

    version: int
    parent: Path
    controllers: frozenset[str]


def hierarchies(mountinfo: str, own: str) -> list[Hierarchy]:
    """The places open to us, from `/proc/self/mountinfo` and `/proc/self/cgroup`."""
    paths = {  # "" is version 2
        controller: path
        for _, controllers, path in (line.split(":", 2) for line in own.splitlines())
        for controller in controllers.split(",")
    }
    found: list[Hierarchy] = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, mount_point = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup":
            controllers = frozenset(_WANTED) & frozenset(options.split(","))
            if controllers and (parent := _version1(Path(mount_point), root, paths, controllers)):
                found.append(Hierarchy(1, parent, controllers))
        elif kind == "cgroup2" and "" in paths:
            found += _version2(Path(mount_point), _below(Path(mount_point), root, paths[""]))
    return found


def this_machine() -> list[Hierarchy]:
    """The places open to this process, now."""
    try:
        return hierarchies(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    except OSError:
        return []


def _below(mount_point: Path, root: str, path: str) -> Path:
    """Where group `path` is under a mount that shows the tree from `root` on."""
    inside = path.removeprefix(root) if root != "/" else path
    return mount_point / inside.lstrip("/")


def _version1(
    mount_point: Path, root: str, paths: dict[str, str], controllers: frozenset[str]
) -> Path | None:
    parent = _below(mount_point, root, paths.get(next(iter(controllers)), "/"))
    return parent if _can_make_groups(parent) else None


def _version2(mount_point: Path, own: Path) -> list[Hierarchy]:
    """The nearest group above us with controllers for its children, if there is one that we may use."""
    for parent in (own, *own.parents):
        # A process can only be moved below a group whose members are ours to move.
        if not (os.access(parent / "cgroup.procs", os.W_OK) and _can_make_groups(parent)):
            break
        if given := _given(parent):
            return [Hierarchy(2, parent, given)]
        if parent == mount_point:
            break
    return []


def _given(parent: Path) -> frozenset[str]:
    """The wanted controllers that a group gives to its children, after asking it to give all it has."""
    switch = parent / "cgroup.subtree_control"
    offered = frozenset(_words(parent / "cgroup.controllers")) & frozenset(_WANTED)
    for controller in offered - frozenset(_words(switch)):
        with suppress(OSError):  # it has processes of its own, so it gives no more than it does already
            switch.write_text(f"+{controller}")
    return frozenset(_words(switch)) & offered


def _can_make_groups(parent: Path) -> bool:
    """By trying: a read-only mount and a foreign owner look the same from here."""
    if ".." in parent.parts:  # our group is outside of what is mounted here
        return False
    try:
        os.rmdir(tempfile.mkdtemp(prefix="rclaude-try-", dir=parent))
    except OSError:
        return False
    return True


class Cgroup:
    """The groups of one sandbox, one per hierarchy. A process joins by writing 0 to each of `doors`."""

    def __init__(self, groups: Sequence[tuple[Hierarchy, Path]]) -> None:
        self._groups = groups

    @classmethod
    def create(
        cls,
        places: Iterable[Hierarchy],
        name: str,
        *,
        memory_mib: int,
        vcpu_millis: int,
        processes: int,
    ) -> Cgroup:
        """Make them and set the limits. Raises `OSError`, with nothing left behind."""
        groups = [(place, place.parent / name) for place in places]
        made = cls(groups)
        memory, quota = memory_mib << 20, vcpu_millis * _PERIOD_US // 1000
        try:
            for place, path in groups:
                path.mkdir()
                files: dict[str, list[tuple[str, int | str]]]
                if place.version == 1:
                    files = {
                        "memory": [
                            ("memory.limit_in_bytes", memory),
                            ("?memory.memsw.limit_in_bytes", memory),
                        ],
                        "cpu": [("cpu.cfs_period_us", _PERIOD_US), ("cpu.cfs_quota_us", quota)],
                        "pids": [("pids.max", processes)],
                    }
                else:
                    files = {
                        "memory": [("memory.max", memory), ("?memory.swap.max", 0)],
                        "cpu": [("cpu.max", f"{quota} {_PERIOD_US}")],
                        "pids": [("pids.max", processes)],
                    }
                for controller in place.controllers & files.keys():
                    for file, value in files[controller]:
                        if not file.startswith("?") or (path / file.lstrip("?")).exists():
                            (path / file.lstrip("?")).write_text(str(value))
        except OSError:
            for _, path in groups:
                if path.is_dir():
                    path.rmdir()
            raise
        return made

    @classmethod
    def found(cls, paths: Iterable[str]) -> Cgroup:
        """Groups that an earlier process made."""
        return cls(
            [
                (Hierarchy(2 if (path / "cgroup.kill").exists() else 1, path.parent, frozenset()), path)
                for path in map(Path, paths)
                if path.is_dir()
            ]
        )

    @property
    def paths(self) -> list[str]:
        return [str(path) for _, path in self._groups]

    @property
    def doors(self) -> list[str]:
        return [str(path / "cgroup.procs") for _, path in self._groups]

    def cpu_ms(self) -> int | None:
        """Processor time of all that ever ran in it."""
        for place, path in self._groups:
            if "cpuacct" in place.controllers:
                return int((path / "cpuacct.usage").read_text()) // 1_000_000
            if place.version == 2:
                return _entry(path / "cpu.stat", "usage_usec") // 1000
        return None

    def memory_peak_mib(self) -> int | None:
        if (memory := self._of("memory")) is None:
            return None
        version, path = memory
        file = path / ("memory.max_usage_in_bytes" if version == 1 else "memory.peak")  # Linux 5.19
        return int(file.read_text()) >> 20 if file.exists() else None

    def out_of_memory(self) -> bool:
        """Has the kernel killed for the limit?"""
        if (memory := self._of("memory")) is None:
            return False
        version, path = memory
        return _entry(path / ("memory.oom_control" if version == 1 else "memory.events"), "oom_kill") > 0

    def kill(self) -> None:
        """SIGKILL to everything in it."""
        for _, path in self._groups:
            if (path / "cgroup.kill").exists():  # version 2, Linux 5.14
                (path / "cgroup.kill").write_text("1")
                continue
            for pid in _words(path / "cgroup.procs"):
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    continue

    async def remove(self) -> None:
        """Kill until it is empty, then take it away."""
        for _, path in self._groups:
            pause = 0.001
            while path.exists():
                try:
                    path.rmdir()
                except FileNotFoundError:
                    break
                except OSError:  # busy: something in it is still on its way out
                    self.kill()
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.1)

    def _of(self, controller: str) -> tuple[int, Path] | None:
        return next(
            ((place.version, path) for place, path in self._groups if controller in place.controllers), None
        )


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _entry(file: Path, key: str) -> int:
    """A value of a file with lines `key value`."""
    return next(
        (int(value) for name, value in map(str.split, file.read_text().splitlines()) if name == key), 0
    )
