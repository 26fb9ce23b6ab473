"""Programs of the product as processes that are forked from one that has imported them.

A command takes a fraction of the time that its imports take. Each test process has one server, started at first use; it
is single-threaded, and what it forks has the environment, folder and files that it is given. A module of the product that
what was forked starts with `python -P -m` is forked too: a stack, and its services. With `RCLAUDE_TEST_EXEC=1`, or where
the environment says how Python starts, the program itself is executed.
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
from contextlib import ExitStack, suppress
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
_OWN_MODULE = re.compile(
    r"(?P<ends>setpriv\0--pdeathsig\0KILL\0sh\0-c\0[^\0]*\0\d+\0)?"
    rf"{re.escape(sys.executable)}\0-P\0(?P<argv>-m\0remote_claude\..*)",
    re.DOTALL,
)  # as `child_process.as_user` and the command line start one
_OWN_START = re.compile(
    "PYTHON[A-Z]|LC_|LANG|TZ$"
)  # what a process reads when it starts, and a forked one does not


class Forked:
    """A process that was forked; what one may ask of a `subprocess.Popen` whose output is no pipe."""

    stdin: IO[bytes] | None = None

    def __init__(
        self,
        argv: Sequence[str],
        cwd: str | Path,
        env: Mapping[str, str],
        *files: int,
        session: bool = False,
        ends_with: int | None = None,
    ) -> None:
        """Fork a program of `PROGRAMS`, or `python -m` and a module; `files` are its input, output and error output.

        With `session` it leads a session of its own. It is killed when the process `ends_with` ends.
        """
        self.args = list(argv)
        self.returncode: int | None = None
        self._answers, its = socket.socketpair()
        with its:
            order = json.dumps(
                {"argv": self.args, "cwd": str(cwd), "env": dict(env), "session": session}
            ).encode()
            _ask([*files, its.fileno()], ends_with)
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
        to = (given.fileno(), out.fileno(), (out if together else err).fileno())
        done = Forked([str(BIN / program), *args], cwd, env, *to)
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
        return Forked(argv, Path.cwd(), env, nothing.fileno(), log.fileno(), log.fileno())


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

    def ask(self, files: Sequence[int], ends_with: int | None) -> None:
        socket.send_fds(self._channel, [_message(ends_with)], list(files))

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


@cache
def _server() -> _Server:
    return _Server()


_server_number: int | None = None
"""In what was forked: the process that forked it."""


def _ask(files: Sequence[int], ends_with: int | None) -> None:
    """Have a process forked by the server of this test process, or by the one that forked this process."""
    if _server_number is None:
        _server().ask(files, ends_with)
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        channel.connect(_address(_server_number))
        socket.send_fds(channel, [_message(ends_with)], list(files))


def _server_lives() -> bool:
    """Whether the process that forked this one is there: a stack may outlast its tests."""
    return Path(f"/proc/{_server_number}").exists()


def _address(server: int) -> str:
    return f"\0rclaude-tests-forking-{server}"


def _message(ends_with: int | None) -> bytes:
    return b"fork" if ends_with is None else b"fork %d" % ends_with


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Fork at each message, until the client is gone. Returns in what was forked, with its order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client's to handle
    with selectors.DefaultSelector() as events, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(_address(os.getpid()))
        door.listen(64)
        events.register(channel, selectors.EVENT_READ)
        events.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.data is not None:
                    key.data()
                    continue
                if key.fileobj is channel:
                    message, files, _, _ = socket.recv_fds(channel, 64, 4)
                    if not message:
                        os._exit(0)
                else:
                    with door.accept()[0] as asking:
                        message, files, _, _ = socket.recv_fds(asking, 64, 4)
                    if not message:
                        continue
                if (pid := os.fork()) == 0:
                    door.close()
                    return _order(channel, files)
                *stdio, last = files
                for file in stdio:
                    os.close(file)
                answers = socket.socket(fileno=last)
                with suppress(OSError):
                    answers.sendall(b"%d\n" % pid)
                _Life(events, pid, answers, *map(int, message.split()[1:]))


class _Life:
    """Tells how a process ended that was forked, and kills it when the process ends that it must not outlive."""

    def __init__(
        self, events: selectors.BaseSelector, pid: int, answers: socket.socket, ends_with: int | None = None
    ) -> None:
        self._events, self._pid, self._answers = events, pid, answers
        self._own, self._other = os.pidfd_open(pid), None
        events.register(self._own, selectors.EVENT_READ, self._ended)
        if ends_with is not None:
            try:
                self._other = os.pidfd_open(ends_with)
            except ProcessLookupError:
                os.kill(pid, signal.SIGKILL)
            else:
                events.register(self._other, selectors.EVENT_READ, self._alone)

    def _ended(self) -> None:
        self._forget(self._own)
        if self._other is not None:
            self._forget(self._other)
            self._other = None
        _, status = os.waitpid(self._pid, 0)
        with self._answers, suppress(OSError):
            self._answers.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))

    def _alone(self) -> None:
        if self._other is not None:
            self._forget(self._other)
            self._other = None
            os.kill(self._pid, signal.SIGKILL)

    def _forget(self, file: int) -> None:
        self._events.unregister(file)
        os.close(file)


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
    if order["session"]:
        os.setsid()
    return order


class _Popen(subprocess.Popen[bytes]):
    """In what was forked: `subprocess.Popen`, with modules of the product forked."""

    def __new__(cls, args: Any, **options: Any) -> Any:
        env = options.get("env") or os.environ
        module = _OWN_MODULE.fullmatch("\0".join(map(str, args))) if isinstance(args, list) else None
        if module is None or as_a_user_does(env) or not _server_lives():
            return super().__new__(cls)
        with ExitStack() as closing:
            nothing = closing.enter_context(open(os.devnull, "r+b"))
            files = {None: None, subprocess.DEVNULL: nothing}
            stdin, stdout, stderr = (options.get(name) for name in ("stdin", "stdout", "stderr"))
            ours = None
            if stdin == subprocess.PIPE:
                read, write = os.pipe()
                stdin, ours = closing.enter_context(open(read, "rb")), os.fdopen(write, "wb")
            if stderr == subprocess.STDOUT:
                stderr = stdout
            to = [files.get(file, file) for file in (stdin, stdout, stderr)]
            process = Forked(
                [sys.executable, *module["argv"].split("\0")],
                options.get("cwd") or Path.cwd(),
                env,
                *(number if file is None else file.fileno() for number, file in enumerate(to)),
                session=options.get("start_new_session", False),
                ends_with=os.getpid() if module["ends"] else None,
            )
            process.stdin = ours
            return process


def _become(order: dict[str, Any]) -> NoReturn:
    """Be the program, to its end. What it starts is forked by who forked this."""
    global _server_number
    _server_number = os.getppid()
    subprocess.Popen = _Popen  # type: ignore[assignment,misc]  # a subclass
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
