"""What a hostile agent tries, from inside a sandbox: `python3 probes.py < what.json`; one line of JSON with what got through.

`what.json`: `rekram` (backwards, a text that nobody inside may see), `files` that hold it outside, `port` of a host's server that says
it, `socket` (an abstract unix socket that does), `proxy` (the sandbox's way out).
"""

import ctypes
import glob
import json
import os
import socket
import struct
import subprocess
import sys
from typing import Any

WHAT = json.load(sys.stdin)
MARKER = WHAT["rekram"][::-1]
GIVEN = ("RCLAUDE_ARTIFACTS", "RCLAUDE_COMMIT_MESSAGE")  # files for the agent's own use
LIBC = ctypes.CDLL(None, use_errno=True)
PROBES: dict[str, tuple[Any, tuple[Any, ...]]] = {}


def probe(name: str, function: Any, *arguments: Any) -> None:
    PROBES[name] = (function, arguments)


def contains(path: str) -> bool:
    """A file that must not be readable, or must not hold the marker."""
    with open(path, "rb") as file:
        return MARKER.encode() in file.read(4 << 20)


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def exists(path: str) -> bool:
    return os.path.exists(path)


def writable(path: str) -> bool:
    with open(path, "wb") as file:
        file.write(b"1")
    return True


def readable(path: str) -> bool:
    with open(path, "rb") as file:
        return len(file.read(16)) > 0


def done(function: str, *arguments: Any) -> bool:
    """A call of the C library that must fail."""
    return bool(getattr(LIBC, function)(*arguments) != -1)


def syscall(number: int, *arguments: Any) -> bool:
    return bool(LIBC.syscall(number, *arguments) != -1)


def reached(family: int, kind: int, address: Any) -> bool:
    """A connection that must not come about."""
    with socket.socket(family, kind) as client:
        client.settimeout(2)
        client.connect(address)
        return True


def made(family: int, kind: int, protocol: int = 0) -> bool:
    with socket.socket(family, kind, protocol):
        return True


def resolved(name: str) -> bool:
    return bool(socket.getaddrinfo(name, 80))


def answered(server: str) -> bool:
    """A DNS server that answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01", (server, 53))
        return bool(client.recv(512))


def asked(head: str, follow: bytes = b"") -> bool:
    """The proxy's answer to a request: it must be a refusal, or none."""
    host, _, port = WHAT["proxy"].removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 15) as client:
        client.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + follow)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
            if b" 200 " in answer[:20] and head.startswith("CONNECT"):
                return True
    return MARKER.encode() in answer or answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 3"))


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex() if name != "lo"]


def said(*command: str) -> bool:
    """The marker in what a command prints."""
    ran = subprocess.run(command, capture_output=True, timeout=20)
    return MARKER.encode() in ran.stdout + ran.stderr


def runner_socket(hello: dict[str, Any]) -> bool:
    """The runner's socket, to somebody who does not know the session."""
    path = "/run/rclaude/runner.sock"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(path)
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: runner\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        client.recv(4096)
        data = json.dumps(hello).encode()
        client.sendall(b"\x81" + bytes([0x80 | len(data)]) + b"\0\0\0\0" + data)
        answer = client.recv(4096)
        return answer[:1] == b"\x81"  # a message, not a close


# Environment and processes
probe("environment", lambda: any(MARKER in value for value in os.environ.values()))
probe(
    "environment names",
    lambda: [n for n in os.environ if n.startswith(("RCLAUDE_", "ANTHROPIC_")) and n not in GIVEN],
)
for which in ("environ", "cmdline"):
    probe(
        f"{which} of all processes",
        lambda which=which: any(_contains_or_not(path) for path in glob.glob(f"/proc/[0-9]*/{which}")),
    )
probe("environment of process 1", lambda: b"TOKEN=" in content("/proc/1/environ"))
probe("memory of process 1", readable, "/proc/1/mem")
probe("files of process 1", lambda: bool(os.listdir("/proc/1/fd")) and os.getuid() == 0)
probe("ptrace of process 1", done, "ptrace", 16, 1, 0, 0)
probe(
    "processes of the host",
    lambda: [
        program
        for path in glob.glob("/proc/[0-9]*/cmdline")
        if (program := content(path).split(b"\0")[0]).endswith((b"nats-server", b"postgres", b"dockerd"))
    ],
)


def _contains_or_not(path: str) -> bool:
    try:
        return contains(path)
    except OSError:
        return False


# Files
for path in WHAT["files"]:
    probe(f"file {path}", contains, path)
    probe(f"file {path} by the root of process 1", contains, "/proc/1/root" + path)
    probe(f"file {path} by way of ..", contains, "/workspace/../../../.." + path)
for path in (
    "/etc/shadow",
    "/root/.ssh/id_rsa",
    "/root/.bash_history",
    "/proc/kcore",
    "/dev/mem",
    "/dev/kmsg",
    "/dev/sda",
    "/dev/vda",
):
    probe(f"read {path}", readable, path)
for path in (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/dbus/system_bus_socket",
):
    probe(f"socket {path}", exists, path)
for path in (
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/cgroup.procs",
    "/etc/passwd",
    "/usr/bin/planted",
    "/opt/worker/planted",
    "/etc/ld.so.preload",
):
    probe(f"write {path}", writable, path)
probe(
    "another task's leftovers",
    lambda: any(
        _contains_or_not(p)
        for p in glob.glob("/tmp/*")
        + glob.glob("/workspace/*")
        + glob.glob("/dev/shm/*")
        + glob.glob("/home/*/*")
    ),
)
probe("set-uid programs gain nothing", lambda: "NoNewPrivs:\t1" not in content("/proc/self/status").decode())
probe("capabilities", lambda: "CapBnd:\t0000000000000000" not in content("/proc/self/status").decode())
probe("seccomp is on", lambda: "Seccomp:\t2" not in content("/proc/self/status").decode())

# System calls
probe("setuid", done, "setuid", 0)
probe("mount", done, "mount", b"none", b"/tmp", b"tmpfs", 0, None)
probe("chroot", done, "chroot", b"/tmp")
probe("unshare of users", done, "unshare", 0x10000000)
probe("unshare of mounts", done, "unshare", 0x00020000)
probe("setns", lambda: done("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))
probe("pivot_root", syscall, 155, b"/tmp", b"/tmp")
probe("bpf", syscall, 321, 0, 0, 0)
probe("init_module", syscall, 175, 0, 0, b"")
probe("kexec_load", syscall, 246, 0, 0, 0, 0)
probe("keyctl", syscall, 250, 0, -3, 1)
probe("perf_event_open", syscall, 298, 0, 0, -1, -1, 0)
probe("open_by_handle_at", syscall, 304, -100, b"\0" * 16, 0)
probe("reboot", done, "reboot", 0x89ABCDEF)
probe("settimeofday", done, "settimeofday", struct.pack("qq", 0, 0), None)

# The network, past the proxy
for address in (
    "127.0.0.1",
    "10.0.2.2",
    "172.17.0.1",
    "192.168.0.1",
    "169.254.169.254",
    "8.8.8.8",
    "0.0.0.0",  # noqa: S104 - to connect to, not to listen on
):
    probe(f"tcp {address}", reached, socket.AF_INET, socket.SOCK_STREAM, (address, WHAT["port"]))
for address in ("::1", "fe80::1", "fd00:ec2::254", "2001:4860:4860::8888", "::ffff:127.0.0.1"):
    probe(f"tcp {address}", reached, socket.AF_INET6, socket.SOCK_STREAM, (address, WHAT["port"], 0, 0))
probe("abstract unix socket", reached, socket.AF_UNIX, socket.SOCK_STREAM, "\0" + WHAT["socket"])
probe("raw socket", made, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
probe("packet socket", made, socket.AF_PACKET, socket.SOCK_RAW)
probe("vsock", reached, 40, socket.SOCK_STREAM, (2, 1024))
probe("interfaces", interfaces)
for name in ("example.com", "metadata.google.internal", "host.docker.internal"):
    probe(f"resolve {name}", resolved, name)
for server in ("8.8.8.8", "127.0.0.53", "127.0.0.11"):
    probe(f"dns {server}", answered, server)

# The proxy
port = WHAT["port"]
for target in (
    f"127.0.0.1:{port}",
    f"localhost:{port}",
    f"0.0.0.0:{port}",
    f"127.1:{port}",
    f"2130706433:{port}",
    f"0x7f000001:{port}",
    f"[::1]:{port}",
    f"[::ffff:127.0.0.1]:{port}",
    f"[::]:{port}",
    "169.254.169.254:80",
    "[fd00:ec2::254]:80",
    "metadata.google.internal:80",
    "10.0.0.1:443",
    "192.168.0.1:80",
    "evil.example:443",
    "127.0.0.1:22",
    WHAT["proxy"].removeprefix("http://"),
    "[64:ff9b::7f00:1]:80",
    "127.0.0.1.nip.io:80",
    "pypi.org:22",
):
    probe(f"connect {target}", asked, f"CONNECT {target} HTTP/1.1\nHost: {target}")
for url in (
    f"http://127.0.0.1:{port}/",
    f"http://localhost:{port}/",
    f"http://pypi.org@127.0.0.1:{port}/",
    f"http://127.0.0.1:{port}#pypi.org/",
    "http://169.254.169.254/latest/meta-data/",
    f"https://127.0.0.1:{port}/",
    "file:///etc/shadow",
    f"http://[::1]:{port}/",
    "http://evil.example/",
):
    probe(f"get {url}", asked, f"GET {url} HTTP/1.1\nHost: pypi.org")
probe("origin form", asked, f"GET / HTTP/1.1\nHost: 127.0.0.1:{port}")
probe(
    "smuggled request",
    asked,
    "POST http://pypi.org/ HTTP/1.1\nHost: pypi.org\nContent-Length: 4\nTransfer-Encoding: chunked",
    b"0\r\n\r\n",
)
probe("redirect by curl", said, "curl", "-sL", "--max-time", "10", f"http://127.0.0.1:{port}/redirect")
probe(
    "no proxy by curl", said, "curl", "-s", "--noproxy", "*", "--max-time", "5", f"http://127.0.0.1:{port}/"
)

# The runner
probe("the runner with a token made up", runner_socket, {"type": "hello", "token": "made-up"})
probe("a stream without a session", runner_socket, {"type": "hello", "stream": "egress"})
probe("a session made up", runner_socket, {"type": "hello", "session_key": "made-up", "prepared": True})

through: dict[str, str] = {}
for name, (function, arguments) in PROBES.items():
    try:
        found = function(*arguments)
    except Exception:  # noqa: S112 - refused, which is what it should be
        continue
    if found:
        through[name] = repr(found)[:200]
print(json.dumps({"probes": len(PROBES), "through": through}))
