"""Starts and ends the embedded stack. It runs on when the command that started it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from remote_claude.cli import config
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.render import ProgressLine
from remote_claude.cli.self_hosted import deployment, providers

MODULE = "remote_claude.runtime.embedded.stack"
ALREADY_RUNNING = 75
START_S, STOP_S = 120.0, 60.0
"""How long a stack that starts may print nothing, and how long it may take to stop."""
SHOWN = 8000
"""Bytes of what a stack has said that are shown where it did not start: the end of a child's log, and more."""
ENDS = (signal.SIGTERM, signal.SIGINT)
"""What ends a stack in the foreground, whether its process group gets it or the command alone."""


def command(port: int | None) -> list[str]:
    """The command line of a stack. Raises `CliError` where only the client is installed."""
    if find_spec("remote_claude.runtime") is None:
        raise CliError(
            "only the client is installed here: `pip install 'remote-claude[embedded]'` adds the stack, "
            "or set RCLAUDE_URL and RCLAUDE_API_KEY to use a server",
            Exit.UNREACHABLE,
        )
    return [sys.executable, "-P", "-m", MODULE, *(["--port", str(port)] if port else [])]


def environment(isolation: str | None) -> dict[str, str]:
    """What a stack is started in: this environment, so that its agents find the model key in it, and what was deployed."""
    return {
        **providers.runner_settings(deployment.runner_settings()),
        **os.environ,
        **({"RCLAUDE_RUNNER_ISOLATION": isolation} if isolation else {}),
    }


def start(port: int | None = None, isolation: str | None = None) -> dict[str, Any]:
    """Bring a stack up in the background and return what it says of itself once it is ready."""
    check_file()
    with ProgressLine(f"starting the embedded stack in {config.home()}…") as waiting:
        return _start(port, isolation, waiting)


def check_file() -> None:
    """Raises `CliError` when a stack runs that can't be found, because its file is damaged."""
    if config.is_stack_file_damaged() and (pid := config.holder()) is not None:
        raise file_damaged(pid)


def file_damaged(pid: int) -> CliError:
    """The stack that holds this home can't be found."""
    return CliError(
        f"a stack runs in {config.home()} (process {pid}), but {config.stack_path()}, where it says how to reach it, "
        "is damaged: `rclaude down`, then start it again",
        Exit.UNREACHABLE,
        code="stack_file_damaged",
    )


def _start(port: int | None, isolation: str | None, waiting: ProgressLine) -> dict[str, Any]:
    log_file = config.home() / "log" / "stack.log"
    log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log_file.open("ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            command(port),
            env=environment(isolation),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    deadline, printed = time.monotonic() + START_S, ""
    while time.monotonic() < deadline:
        code = process.poll()
        if (now_printed := _log_since(log_file, begin)) != printed:  # it gets on
            deadline, printed = time.monotonic() + START_S, now_printed
            waiting.text = printed.splitlines()[-1]
        stack = config.stack_file()
        if stack is not None and (code == ALREADY_RUNNING or stack["pid"] == process.pid):
            return stack
        if code not in (None, ALREADY_RUNNING):
            raise CliError(f"the stack did not start:\n{_log_since(log_file, begin)}", Exit.UNREACHABLE)
        if code == ALREADY_RUNNING:  # another's stack: it is on its way up, or has been for too long
            check_file()
            if config.held_for() > START_S:
                break
        time.sleep(0.02)
    if code == ALREADY_RUNNING:
        raise CliError(
            f"a stack runs in {config.home()} and is not ready: look into {config.home() / 'log'}, and wait, "
            "or `rclaude down`, then start it again",
            Exit.UNREACHABLE,
            code="stack_file_missing",
        )
    process.terminate()
    raise CliError(
        f"the stack was not ready and said nothing for {START_S:.0f} s; see {log_file}", Exit.UNREACHABLE
    )


def _log_since(log_file: Path, begin: int) -> str:
    """The end of what the stack has said since then, from the beginning of a line on."""
    start = max(begin, log_file.stat().st_size - SHOWN)
    with log_file.open("rb") as log:
        log.seek(start)
        printed = log.read().decode(errors="replace")
    if start > begin:
        printed = printed.partition("\n")[2] or printed
    return printed.strip()


def foreground(
    port: int | None, isolation: str | None = None, on_ready: Callable[[], None] = lambda: None
) -> int:
    """Run a stack until it is ended; returns its exit code. What is to end this process ends the stack, with 0.

    `on_ready` is called once in a thread of its own when the stack answers.
    """
    process: subprocess.Popen[bytes] | None = None
    signalled = False

    def end(*_: object) -> None:
        nonlocal signalled
        signalled = True
        if process is not None:
            process.terminate()

    for number in ENDS:
        signal.signal(number, end)
    process = subprocess.Popen(command(port), env=environment(isolation), cwd="/")
    if signalled:
        process.terminate()
    threading.Thread(target=_when_ready, args=(process, on_ready), daemon=True).start()
    code = process.wait()
    # before it listens for signals, and after, it ends of one: nothing of it runs then
    return 0 if signalled and -code in ENDS else code


def _when_ready(process: subprocess.Popen[bytes], on_ready: Callable[[], None]) -> None:
    while process.poll() is None:
        stack = config.stack_file()
        if stack is not None and stack["pid"] == process.pid:
            on_ready()
            return
        time.sleep(0.1)


def stop() -> bool:
    """End the stack, if one runs; False when none does."""
    pid = config.holder()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.02)
    raise CliError(f"the stack (process {pid}) has not stopped after {STOP_S:.0f} s")
