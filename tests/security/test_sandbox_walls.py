"""What a hostile command can see and do inside: nothing of the host, nothing of its neighbours."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from remote_claude.runner.providers import UnixSocket
from remote_claude.runner.providers.local import LocalProvider
from sandboxes import listener, outcome, processes_with, spec, told, until


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[LocalProvider]:
    local = LocalProvider(tmp_path / "home-of-the-runner")
    yield local
    await local.close()


@pytest.fixture
def secret(tmp_path: Path) -> str:
    made_up = f"made-up-{uuid.uuid4().hex}"
    (tmp_path / "secret").write_text(made_up)
    return made_up


TRY = """import ctypes, errno, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(function, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, function)(*arguments)
    return "done" if result != -1 else errno.errorcode[ctypes.get_errno()]
"""


async def test_files_of_the_host_are_invisible(provider: LocalProvider, tmp_path: Path, secret: str) -> None:
    hidden = [
        str(path) for path in (tmp_path / "secret", tmp_path, Path.home() / ".bashrc", Path("/etc/shadow"))
    ]
    hidden += ["/etc/machine-id", "/etc/ssh", "/var", "/sys", "/boot", "/mnt", "/opt", "/srv", "/run/systemd"]
    script = f"import json, os; print(json.dumps([path for path in {hidden} if os.path.exists(path)]))"
    assert await told(provider, spec(script)) == []


async def test_accounts_and_names_are_made_up(provider: LocalProvider) -> None:
    script = "import json, pwd, os; print(json.dumps([p.pw_name for p in pwd.getpwall()]))"
    assert await told(provider, spec(script)) == ["root", "agent", "nobody"]
    end = await outcome(provider, spec("cat /etc/hosts /etc/resolv.conf /etc/hostname; uname -n"))
    assert socket.gethostname() not in end.output.split()


async def test_processes_of_the_host_are_invisible(provider: LocalProvider) -> None:
    script = """import json, os
print(json.dumps([open(f"/proc/{pid}/cmdline").read().split("\\0")[0] for pid in os.listdir("/proc") if pid.isdigit()]))"""
    seen = await told(provider, spec(script))
    assert len(seen) == 1  # this one
    end = await outcome(provider, spec(f"kill -0 {os.getpid()}"))
    assert "No such process" in end.output


async def test_the_environment_of_the_host_is_nowhere(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-made-up-of-the-host")
    end = await outcome(provider, spec("cat /proc/*/environ | tr '\\0' '\\n'; env"))
    assert "sk-made-up-of-the-host" not in end.output


async def test_there_is_no_network(provider: LocalProvider, tmp_path: Path) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    name = f"\0{uuid.uuid4().hex}"
    async with (
        await asyncio.start_server(refuse, "127.0.0.1", 0) as tcp,
        await asyncio.start_unix_server(refuse, name),
    ):
        port = tcp.sockets[0].getsockname()[1]
        script = f"""import json, socket
def says(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "connected"
def abstract():
    socket.socket(socket.AF_UNIX).connect({name!r})
print(json.dumps([
    says(lambda: socket.create_connection(("127.0.0.1", {port}), 5)),
    says(lambda: socket.create_connection(("192.0.2.1", 80), 5)),
    says(lambda: socket.getaddrinfo("example.com", 443)),
    says(abstract),
    says(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)),
    [name for _, name in socket.if_nameindex()],
]))"""
        tcp_says, far, name_says, abstract, vsock, interfaces = await told(provider, spec(script))
    assert (tcp_says, far, name_says) == ("ConnectionRefusedError", "OSError", "gaierror")
    assert (abstract, vsock) == ("ConnectionRefusedError", "PermissionError")
    assert interfaces == ["lo"]


async def test_the_only_way_out_is_the_given_socket(provider: LocalProvider, tmp_path: Path) -> None:
    async with listener(tmp_path / "run.sock") as given, listener(tmp_path / "other.sock") as other:
        script = f"""import json, os, socket
def reach(path):
    try:
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        return client.recv(100).decode()
    except OSError as error:
        return type(error).__name__
print(json.dumps([os.listdir("/run/rclaude"), reach("/run/rclaude/runner.sock"), reach({str(given)!r}), reach({str(other)!r})]))"""
        names, run, by_host_path, neighbour = await told(provider, spec(script, transport=UnixSocket(given)))
    assert names == ["runner.sock"]
    assert run == "hello from outside"
    assert by_host_path == neighbour == "FileNotFoundError"


async def test_neighbours_do_not_see_or_reach_each_other(provider: LocalProvider) -> None:
    unique = uuid.uuid4().hex
    victim = (
        f"echo {unique} > /workspace/mine; echo {unique} > /tmp/mine; touch up; while :; do sleep 1; done"
    )
    started = await provider.launch(spec(victim, "victim"))
    await until(lambda: bool(processes_with("sleep")), "the victim works")
    attack = f"""import json, os, pathlib
needle, seen = os.environ["NEEDLE"], []
for folder in ("/workspace", "/tmp", "/home/agent", "/dev/shm"):
    seen += [name for name in os.listdir(folder) if name in ("mine", "up")]
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    seen += [str(path)] if needle in path.read_text() else []
for pid in ({started.handle}, -1):
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        seen += [] if pid == {started.handle} else ["nobody"]
print(json.dumps(seen))"""
    assert await told(provider, spec(attack, "attacker", env={"NEEDLE": unique})) == ["nobody"]
    assert started in await provider.list()
    if os.geteuid() == 0:
        other = await provider.launch(spec("sleep 1000", "third"))
        uids = {os.stat(f"/proc/{instance.handle}").st_uid for instance in (started, other)}
        assert len(uids) == 2
        assert 0 not in uids


async def test_the_system_cannot_be_written(provider: LocalProvider, tmp_path: Path) -> None:
    targets = [
        "/usr/x",
        "/bin/x",
        "/etc/x",
        "/etc/passwd",
        "/x",
        "/dev/x",
        "/run/x",
        "/run/rclaude/x",
        "/home/x",
        "/root/x",
    ]
    targets += ["/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger"]
    script = f"""import json, os, sys
targets = {targets} + [sys.executable, sys.prefix + "/x", sys.base_prefix + "/x", os.__file__]
def opens(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        return True
    except OSError:
        return False
print(json.dumps([path for path in targets if opens(path)]))"""
    assert await told(provider, spec(script)) == []


async def test_there_is_no_privilege_and_no_way_to_one(provider: LocalProvider) -> None:
    script = """import json, os
def status(pid):
    lines = (line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    return {key: value.strip() for key, value in lines}
print(json.dumps([status(1), status("self"), os.getresuid(), os.getgroups()]))"""
    first, own, uids, groups = await told(provider, spec(script))
    for process in (first, own):
        assert {int(process[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert process["NoNewPrivs"] == "1"
        assert process["Seccomp"] == "2"
    assert uids == [1000, 1000, 1000]
    assert set(groups) <= {1000, 65534}


async def test_no_namespace_can_be_made_and_nothing_mounted(provider: LocalProvider) -> None:
    flags = {"user": 0x10000000, "mount": 0x20000, "net": 0x40000000, "pid": 0x20000000}
    script = f"""{TRY}
answers = {{name: attempt("unshare", flag) for name, flag in {flags}.items()}}
answers["clone"] = attempt("syscall", 56 if os.uname().machine == "x86_64" else 220, 0x10000011, 0, 0, 0, 0)
answers["clone3"] = attempt("syscall", 435, None, 0)
answers["setns"] = attempt("setns", os.open("/proc/1/ns/net", os.O_RDONLY), 0)
answers["mount"] = attempt("mount", b"none", b"/tmp", b"tmpfs", 0, None)
answers["remount"] = attempt("mount", b"none", b"/usr", None, 0x1020, None)
answers["umount"] = attempt("umount2", b"/usr", 2)
answers["chroot"] = attempt("chroot", b"/tmp")
answers["fsopen"] = attempt("syscall", 430, b"tmpfs", 0)
answers["open_tree"] = attempt("syscall", 428, -100, b"/", 1)
print(json.dumps(answers))"""
    answers = await told(provider, spec(script))
    assert answers.pop("clone3") == "ENOSYS"
    assert set(answers.values()) == {"EPERM"}, answers


async def test_dangerous_system_calls_are_refused(provider: LocalProvider) -> None:
    script = f"""{TRY}
intel = os.uname().machine == "x86_64"
answers = {{
    "add_key": attempt("syscall", 248 if intel else 217, b"user", b"name", b"value", 5, -3),
    "request_key": attempt("syscall", 249 if intel else 218, b"user", b"name", None, 0),
    "keyctl": attempt("syscall", 250 if intel else 219, 0, -3, 0),
    "bpf": attempt("syscall", 321 if intel else 280, 0, None, 0),
    "perf_event_open": attempt("syscall", 298 if intel else 241, None, 0, -1, -1, 0),
    "userfaultfd": attempt("syscall", 323 if intel else 282, 1),
    "io_uring_setup": attempt("syscall", 425, 1, None),
    "open_by_handle_at": attempt("syscall", 304 if intel else 265, -100, None, 0),
    "kexec_load": attempt("syscall", 246 if intel else 104, 0, 0, None, 0),
    "init_module": attempt("syscall", 175 if intel else 105, None, 0, b""),
    "TIOCSTI": attempt("ioctl", 0, 0x5412, b"x"),
    "packet socket": attempt("socket", 17, 3, 0),
    "alg socket": attempt("socket", 38, 5, 0),
}}
if intel:
    answers["x32 getpid"] = attempt("syscall", 0x40000000 + 39)
print(json.dumps(answers))"""
    answers = await told(provider, spec(script))
    assert set(answers.values()) == {"EPERM"}, answers


async def test_standard_output_and_error_can_be_opened_by_name(provider: LocalProvider) -> None:
    end = await outcome(provider, spec("echo one > /dev/stdout; echo two > /dev/stderr"))
    assert (end.code, end.output) == (0, "one\ntwo\n")


async def test_ordinary_work_passes_the_filter(provider: LocalProvider) -> None:
    script = """import json, os, pty, socket, sqlite3, subprocess, tempfile, threading, multiprocessing, asyncio
thread = threading.Thread(target=print); thread.start(); thread.join()
with multiprocessing.get_context("spawn").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
server = socket.create_server(("127.0.0.1", 0)); client = socket.create_connection(server.getsockname())
assert pty.spawn(["true"]) == 0
assert socket.getaddrinfo("localhost", 80)
asyncio.run(asyncio.sleep(0))
database = sqlite3.connect("/workspace/x.db"); database.execute("create table t (x)"); database.commit()
os.makedirs("/workspace/a/b"); os.symlink("b", "/workspace/a/c"); os.rename("/workspace/a", "/workspace/d")
print(json.dumps(subprocess.run(["sh", "-c", "echo out | cat"], capture_output=True, text=True).stdout))"""
    assert await told(provider, spec(script)) == "out\n"


async def test_a_link_out_of_a_bare_workspace_harms_nothing_when_it_is_cleared(
    tmp_path: Path, secret: str
) -> None:
    keep = tmp_path / "keep"
    keep.mkdir(mode=0o755)
    (keep / "file").write_text("precious")
    bare = LocalProvider(tmp_path / "home", "none")
    end = await outcome(bare, spec(f"ln -s {keep} link; mkdir closed; touch closed/file; chmod 0 closed"))
    assert end.code == 0
    assert (keep / "file").read_text() == "precious"
    assert keep.stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "home" / "sandboxes" / "task-1").exists()
