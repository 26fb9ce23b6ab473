"""Starting a child process that ends with us, as a user that it accepts."""

import asyncio
import enum
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NOBODY = 65534
LOG_LIMIT = 10 * 1024 * 1024


class RunAs(enum.Enum):
    """The user a child runs as."""

    SELF = "self"
    NOBODY = "nobody"
    MAPPED = "mapped"  # `nobody` inside a user namespace, ourselves outside: reaches what only we may reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to keep running.

    `ready` returns when the process answers and is called again after each start; it may wait for ever,
    the supervisor bounds it by `ready_timeout`, or, where that is None, it raises `TimeoutError` when it gives up.
    Times are seconds. `env` replaces the environment.
    `death_signal` is what the kernel sends when the thread that started the child ends (Linux only).
    It is started when those that it comes `after` are ready. `first` is called once before that, in a thread.
    With `early` it is started at once, and its standard input ends when they are ready.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], Awaitable[None]]
    env: Mapping[str, str] | None = None
    run_as: RunAs = RunAs.SELF
    ready_timeout: float | None = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 10.0
    death_signal: signal.Signals = signal.SIGKILL
    after: Sequence[str] = ()
    early: bool = False
    first: Callable[[], None] | None = None


def spawn(child: Child, log_dir: Path, *, input_stays: bool = False) -> "subprocess.Popen[bytes]":
    """Start `child` in a session of its own, its output appended to `<log_dir>/<name>.log`.

    Its standard input is empty; with `input_stays` it ends only when the caller closes it.
    """
    with open_log(log_dir, child.name) as log:
        return subprocess.Popen(
            as_user(child.run_as, child.argv, death_signal=child.death_signal),
            stdin=subprocess.PIPE if input_stays else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=None if child.env is None else dict(child.env),
            start_new_session=True,
        )


def open_log(log_dir: Path, name: str) -> BinaryIO:
    """The child's log, for appending; past 10 MB it is moved to `<name>.log.1` first."""
    path = log_dir / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_suffix(".log.1"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def rotate_log(log_dir: Path, name: str) -> None:
    """Move a log of more than 10 MB to `<name>.log.1` while its process appends to it: copied, then emptied.

    A line that is written between the two is lost.
    """
    path = log_dir / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        shutil.copyfile(path, path.with_suffix(".log.1"))
        os.truncate(path, 0)


def as_user(
    run_as: RunAs,
    argv: Sequence[str | Path],
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    folder: Path | None = None,
) -> list[str]:
    """The command that takes on a user, asks to end when its parent does, enters `folder`, and becomes `argv`.

    util-linux does it rather than code between fork and exec: there a library's fork hook may have started a
    thread, and a process with two threads gets no user namespace. Becoming another user clears the wish to end
    with the parent, so that comes after; a parent that ended before the wish is noticed last.
    """
    command = [str(argument) for argument in argv]
    if folder is not None:
        command = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command]
    if sys.platform != "linux":
        return command
    user = {
        RunAs.SELF: ["setpriv"],
        RunAs.NOBODY: ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"],
        RunAs.MAPPED: ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "setpriv"],
    }[run_as]
    parent_lives = ["sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid())]
    return [*user, "--pdeathsig", death_signal.name.removeprefix("SIG"), *parent_lives, *command]


def refusal(run_as: RunAs, program: Path, folder: Path) -> str | None:
    """Why that user can't enter `folder` and run `program` here; None when it can. Tried, not guessed: it runs `--version`."""
    try:
        command = as_user(run_as, [program, "--version"], folder=folder)
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        return f"{run_as.value}: exit code {error.returncode}: {error.stderr.strip()[:200]}"
    except OSError as error:
        return f"{run_as.value}: {error}"
    return None


async def exited(process: "subprocess.Popen[bytes]") -> int:
    """Wait for the end of `process`; its return code, negative for a signal.

    What it left behind in its process group is killed, while its number still keeps the group from others.
    """
    if process.returncode is None:
        try:
            descriptor = os.pidfd_open(process.pid)
        except (AttributeError, OSError):  # not Linux, or an old one
            return await asyncio.to_thread(process.wait)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        with suppress(ProcessLookupError, PermissionError):
            if process.returncode is None:  # nobody else who waits has let the number go
                os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
