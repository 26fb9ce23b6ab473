"""What Linux knows of processes, and how to end those of a sandbox that no namespace or group holds."""

from __future__ import annotations

import asyncio
import os
import pwd
import resource
import signal
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

MARK = "RCLAUDE_SANDBOX"
"""Names the sandbox in the environment of its processes."""

GROUP_ID = 60600
"""The group of every sandbox's user, where the provider is root: who may connect to a sandbox's sockets."""
_USER_IDS = range(60601, 61101)  # claimed neither by Debian's packages nor by systemd


def can_change_user() -> bool:
    """Are we root, with those users to change to? A root of a small user namespace has none."""
    if os.geteuid() != 0:
        return False
    ranges = (map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(first <= GROUP_ID and first + count >= _USER_IDS.stop for first, _, count in ranges)


def free_user(in_use: Collection[int], start: int) -> int:
    """A user id that no account and no process has; the search begins at a place of one's own."""
    running = set()
    for pid in _all():
        with suppress(FileNotFoundError, ProcessLookupError):  # ended since
            running.add(os.stat(f"/proc/{pid}").st_uid)
    for step in range(len(_USER_IDS)):
        uid = _USER_IDS[(start + step) % len(_USER_IDS)]
        if uid not in in_use and uid not in running and not _has_account(uid):
            return uid
    raise OSError(f"all user ids from {_USER_IDS.start} to {_USER_IDS.stop - 1} are taken")


def at_most(limit: int, wanted: int) -> int:
    """What a resource limit can be set to: nobody raises it above the hard limit that we have ourselves."""
    hard = resource.getrlimit(limit)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def threads_of(uid: int) -> int:
    """How many tasks count against `RLIMIT_NPROC` of this user now."""
    count = 0
    for pid in _all():
        with suppress(FileNotFoundError, ProcessLookupError):
            if os.stat(f"/proc/{pid}").st_uid == uid:
                count += int(_fields(pid)[17])
    return count


def kill_marked(mark: str) -> int:
    """SIGKILL to every process that has this mark in its environment; how many there were."""
    wanted = f"{MARK}={mark}".encode()
    count = 0
    for pid in _all():
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            if wanted in environment.split(b"\0") and _fields(pid)[0] != "Z":
                os.kill(pid, signal.SIGKILL)
                count += 1
    return count


async def end_marked(mark: str) -> None:
    """Kill what has this mark until there is nothing left with it."""
    pause = 0.001
    while kill_marked(mark):
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.1)


async def gone(pidfd: int) -> None:
    """Returns when the process has ended; for the first one of a process namespace: when all of it has."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, _resolve, ended)
    try:
        await ended
    finally:
        loop.remove_reader(pidfd)


def _resolve(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _fields(pid: int) -> list[str]:
    """Of `/proc/<pid>/stat`, from the third (the state) on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
