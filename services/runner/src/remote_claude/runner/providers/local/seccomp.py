"""The system call filter of a sandbox: classic BPF for seccomp, assembled here.

Refused with EPERM: kernel keyrings (they are not part of any namespace), new namespaces and mounts,
bpf, perf, userfaultfd, io_uring (its operations pass by every filter), loading of code into the kernel,
typing into a terminal (TIOCSTI), sockets of families that a network namespace does not hold (vsock),
and the entrances of other architectures. `clone3` says ENOSYS, since its flags are behind a pointer: libc falls
back to `clone`. `ptrace` stays: a debugger is part of the work, and the process namespace is one's own.
"""

from __future__ import annotations

import errno
import platform
import socket
import struct
from dataclasses import dataclass
from functools import cache

_REFUSED = {  # name: (x86-64, aarch64); None where the architecture never had it
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
_CLONE_NEW = 0x7E020000  # CLONE_NEW{USER,PID,NET,UTS,IPC,CGROUP,NS}
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16)  # 16: AF_NETLINK, which getaddrinfo uses
_X32 = 0x40000000


@dataclass(frozen=True, slots=True)
class _Architecture:
    audit: int
    column: int
    clone: int
    unshare: int
    ioctl: int
    socket: int


_ARCHITECTURES = {
    "x86_64": _Architecture(0xC000003E, 0, clone=56, unshare=272, ioctl=16, socket=41),
    "aarch64": _Architecture(0xC00000B7, 1, clone=220, unshare=97, ioctl=29, socket=198),
}
_CLONE3 = 435

_LOAD, _RETURN = 0x20, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_RET|BPF_K
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45  # BPF_JMP|BPF_K with JEQ, JGE, JSET
_NUMBER, _ARCHITECTURE, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets in struct seccomp_data (little endian)
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program:
    """Instructions with labels to jump to; a jump not taken falls through."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, str | None]] = []
        self._labels: dict[str, int] = {}

    def load(self, offset: int) -> None:
        self._code.append((_LOAD, offset, None))

    def jump(self, test: int, value: int, label: str) -> None:
        self._code.append((test, value, label))

    def give(self, value: int) -> None:
        self._code.append((_RETURN, value, None))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def assemble(self) -> bytes:
        """An array of `struct sock_filter`."""
        return b"".join(
            struct.pack("=HBBI", code, self._labels[label] - at - 1 if label else 0, 0, value)
            for at, (code, value, label) in enumerate(self._code)
        )


@cache
def program(machine: str | None = None) -> bytes | None:
    """The filter for this machine's architecture; `None` where we have no table for it."""
    arch = _ARCHITECTURES.get(machine or platform.machine())
    if arch is None:
        return None
    bpf = _Program()
    bpf.load(_ARCHITECTURE)
    bpf.jump(_EQUAL, arch.audit, "native")
    bpf.give(_ERRNO | errno.EPERM)
    bpf.label("native")
    bpf.load(_NUMBER)
    bpf.jump(_AT_LEAST, _X32, "refuse")
    for numbers in _REFUSED.values():
        if (number := numbers[arch.column]) is not None:
            bpf.jump(_EQUAL, number, "refuse")
    bpf.jump(_EQUAL, _CLONE3, "missing")
    bpf.jump(_EQUAL, arch.clone, "namespaces")
    bpf.jump(_EQUAL, arch.unshare, "namespaces")
    bpf.jump(_EQUAL, arch.ioctl, "ioctl")
    bpf.jump(_EQUAL, arch.socket, "socket")
    bpf.give(_ALLOW)

    bpf.label("namespaces")
    bpf.load(_ARG0)
    bpf.jump(_ANY_BIT, _CLONE_NEW, "refuse")
    bpf.give(_ALLOW)

    bpf.label("ioctl")
    bpf.load(_ARG1)
    bpf.jump(_EQUAL, _TIOCSTI, "refuse")
    bpf.jump(_EQUAL, _TIOCLINUX, "refuse")
    bpf.give(_ALLOW)

    bpf.label("socket")
    bpf.load(_ARG0)
    for family in _FAMILIES:
        bpf.jump(_EQUAL, family, "allow")
    bpf.label("refuse")
    bpf.give(_ERRNO | errno.EPERM)
    bpf.label("missing")
    bpf.give(_ERRNO | errno.ENOSYS)
    bpf.label("allow")
    bpf.give(_ALLOW)
    return bpf.assemble()
