"""Programs of the product as processes that are forked from one that has imported them.

A command takes a fraction of the time that its imports take. Each test process has one server, started at first use; it
is single-threaded, and what it forks has the environment, folder and files that it is given. With `RCLAUDE_TEST_EXEC=1`,
or where the environment says how Python starts, `run` executes the program itself.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn

BIN = Path(sys.executable).parent
PROGRAMS = {
    "rclaude": ("remote_claude.cli", "main"),
    "rclaude-admin": ("remote_claude.runtime.admin.command_line", "main"),
}
_EXEC = "RCLAUDE_TEST_EXEC"
_OWN_START = re.compile(
    "PYTHON[A-Z]|LC_|LANG|TZ$"
)  # what a process reads when it starts, and a forked one does not


class Forked:
    """A process that was forked; what one may ask of a `subprocess.Popen` without pipes."""

    def __init__(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], *files: IO[bytes]) -> None:
        """Fork a program of `PROGRAMS`, or `python -m` and a module; `files` are its input, output and error output."""
        self.args = list(argv)
        self.returncode: int | None = None
        self._answers, its = socket.socketpair()
        with its:
            order = json.dumps({"argv": self.args, "cwd": str(cwd), "env": dict(env)}).encode()
            _server().fork([*(file.fileno() for file in files), its.fileno()])
        self._answers.sendall(len(order).to_bytes(8) + order)
        self._read = self._answers.makefile("rb")
        self.pid = int(self._read.readline())

    def poll(self) -> int | None:
        """The exit code if it has ended, as `subprocess` has it."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""
        if self.returncode is None:
            with selectors.DefaultSelector() as ready:
                ready.register(self._answers, selectors.EVENT_READ)
                if not ready.select(timeout):
                    raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._read.readline())
            self._read.close()
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    program: str,
    *args: str,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes = b"",
    timeout: float = 120,
    together: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """The program of that name with these arguments, to its end. Kills it after `timeout` seconds, and raises.

    `together`: what goes to its error output is part of its output, as on a terminal.
    """
    if as_a_user_does(env):
        return subprocess.run(
            [BIN / program, *args], cwd=cwd, env=env, input=stdin, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if together else subprocess.PIPE, timeout=timeout, check=False,
        )  # fmt: skip
    with TemporaryFile() as out, TemporaryFile() as err, TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        done = Forked([str(BIN / program), *args], cwd, env, given, out, out if together else err)
        try:
            done.wait(timeout)
        except BaseException:
            done.kill()
            done.wait()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(done.args, done.wait(), out.read(), err.read())


def service(name: str, env: Mapping[str, str], log: IO[bytes]) -> Process:
    """The process of a service, which writes into `log`."""
    argv = [sys.executable, "-m", f"remote_claude.{name}"]
    if as_a_user_does(env):
        return subprocess.Popen(argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    with open(os.devnull, "rb") as nothing:
        return Forked(argv, Path.cwd(), env, nothing, log, log)


def as_a_user_does(env: Mapping[str, str]) -> bool:
    """Whether the program itself has to be executed."""
    own = {name for name in {*env, *os.environ} if _OWN_START.match(name)}
    return bool(os.environ.get(_EXEC)) or any(env.get(name) != os.environ.get(name) for name in own)


Process = Forked | subprocess.Popen[bytes]


class _Server:
    """The process that forks, as its client sees it."""

    def __init__(self) -> None:
        self._channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(its.fileno())],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def fork(self, files: Sequence[int]) -> None:
        socket.send_fds(self._channel, [b"fork"], list(files))

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


@cache
def _server() -> _Server:
    return _Server()


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Fork at each message, until the client is gone. Returns in what was forked, with its order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client's to handle
    with selectors.DefaultSelector() as events:
        events.register(channel, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fileobj is not channel:
                    pid, answers = key.data
                    events.unregister(key.fileobj)
                    os.close(key.fd)
                    _, status = os.waitpid(pid, 0)
                    with answers, suppress(OSError):
                        answers.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
                    continue
                message, files, _, _ = socket.recv_fds(channel, 16, 4)
                if not message:
                    os._exit(0)
                if (pid := os.fork()) == 0:
                    return _order(channel, files)
                *stdio, last = files
                for file in stdio:
                    os.close(file)
                answers = socket.socket(fileno=last)
                with suppress(OSError):
                    answers.sendall(b"%d\n" % pid)
                events.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answers))


def _order(channel: socket.socket, files: Sequence[int]) -> dict[str, Any]:
    """In what was forked: take the files, and read what to be."""
    channel.close()
    *stdio, last = files
    for number, file in enumerate(stdio):
        os.dup2(file, number)
        os.close(file)
    with socket.socket(fileno=last) as answers, answers.makefile("rb") as read:
        order: dict[str, Any] = json.loads(read.read(int.from_bytes(read.read(8))))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return order


def _become(order: dict[str, Any]) -> NoReturn:
    """Be the program, to its end."""
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.argv = order["argv"]
    code: object = 1
    try:
        _program()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(
        code if isinstance(code, int) else 1
    )  # taking down the heap would take longer than most commands


def _program() -> None:
    if (name := Path(sys.argv[0]).name) in PROGRAMS:
        module, function = PROGRAMS[name]
        getattr(importlib.import_module(module), function)()
    else:
        _, _, module, *arguments = sys.argv
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _import_everything() -> None:
    """What the programs import, now or when a command needs it."""
    from remote_claude import cli
    from remote_claude.runtime import admin, host
    from remote_claude.runtime.admin.app import complete

    host.installed()
    complete()
    for package in (cli, admin):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(found.name)


if __name__ == "__main__":
    gc.disable()
    _import_everything()
    assert threading.active_count() == 1
    gc.freeze()
    gc.enable()
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
