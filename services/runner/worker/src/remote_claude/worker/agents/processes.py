"""Ending processes with everything they started, also what has left its process group. Linux: elsewhere only groups."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from remote_claude.worker import git
from remote_claude.worker.protocol.messages import GRACE_S

_PROC = Path("/proc")
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_POLL_S = 0.02
_REAP_S = 2.0


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that `descendants` finds them, and, where this is
    the first process, refuse to be traced by them: signals can't reach it then. Linux only."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if os.getpid() == 1:
            libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def descendants() -> list[int]:
    """The living processes below this one, parents first, without the worker's own Git."""
    children: dict[int, list[int]] = {}
    for pid, parent, state in _processes():
        if state not in "ZX":
            children.setdefault(parent, []).append(pid)
    found, waiting = list[int](), [os.getpid()]
    while waiting:
        below = [pid for pid in children.get(waiting.pop(0), []) if pid not in git.running]
        found += below
        waiting += below
    return found


async def end_descendants(grace_s: float = GRACE_S) -> None:
    """SIGTERM to all of them, SIGKILL to those alive after the grace. Returns when none is left."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + grace_s
    signalled: set[int] = set()
    empty = 0
    # One look can miss a process whose parent ends while it is taken: two in a row have to find nothing.
    while empty < 2:
        if git.starting:
            await asyncio.sleep(_POLL_S)
            continue
        alive = descendants()
        empty = 0 if alive else empty + 1
        if clock() >= deadline:
            _signal(alive, signal.SIGKILL)
        else:
            _signal([pid for pid in alive if pid not in signalled], signal.SIGTERM)
            signalled.update(alive)
        await asyncio.sleep(_POLL_S)


def _processes() -> Iterator[tuple[int, int, str]]:
    """Every process: its id, its parent's, its state."""
    for entry in _PROC.iterdir() if _PROC.is_dir() else ():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(errors="replace")
            except OSError:  # it has ended meanwhile
                continue
            state, parent = stat[stat.rindex(")") + 2 :].split()[:2]
            yield int(entry.name), int(parent), state


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


async def reap_orphans() -> None:
    """Never returns. Takes leave of adopted processes that have ended, so that they don't fill the process table.

    The code that starts a child here waits for it itself and at once: what stays a zombie is an orphan.
    """
    before: set[int] = set()
    while True:
        await asyncio.sleep(_REAP_S)
        zombies = {pid for pid, parent, state in _processes() if state == "Z" and parent == os.getpid()}
        for pid in zombies & before:
            with suppress(ChildProcessError):  # the code that started it has been slow
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - it does not wait
        before = zombies
