"""A disk of one's own that loses its power: ext4 on a loop device, cut off by the kernel's shutdown of a file system.

What was not synced is forgotten, as when the machine loses its power: dirty pages are dropped, the journal is not
flushed. Needs root and loop devices; without them it says so.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from servers import until

SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
NOLOGFLUSH = 2
MIB = 1024 * 1024


class Disk:
    """Mounted at `path`. The caller ends what uses it before it is mounted again."""

    def __init__(self, image: Path, path: Path) -> None:
        self._image, self.path = image, path
        self._numbers = count(1)

    @property
    def mounted(self) -> bool:
        """By the kernel's word: looking at a disk without power is an error."""
        return f" {self.path} " in Path("/proc/self/mounts").read_text()

    def mount(self) -> None:
        """Plug it in; the journal is recovered.

        It is a copy of what was there: a sandbox that began meanwhile has all mounts of that moment, and for as long
        as one is left anywhere, the kernel would give the old one back, which has no power.
        """
        before, self._image = self._image, self._image.with_name(f"image-{next(self._numbers)}")
        _run("cp", "--sparse=always", before, self._image)
        before.unlink()
        _run("mount", "-o", "loop", self._image, self.path)

    def unmount(self) -> None:
        """Unplug it, as soon as the last process that had a file open there is gone."""

        def unplugged() -> bool:
            if self.mounted:
                subprocess.run(["umount", self.path], capture_output=True, check=False)
            return not self.mounted

        until(unplugged, f"nothing uses {self.path} any more")

    def cut(self) -> None:
        """Lose the power: from now on nothing is written and nothing read, and what was not synced is gone."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(folder)

    def fill(self, left: int = 0) -> Path:
        """A file that takes all the room but so many bytes; removing it makes room again."""
        filler = self.path / "filler"
        free = os.statvfs(self.path)
        size = free.f_bavail * free.f_bsize - left
        with filler.open("ab") as file:
            while size > 0:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
                    break
                except OSError:  # what the file system needs for itself
                    size -= max(4096, size // 64)
        return filler


@contextmanager
def disk(mebibytes: int = 1024) -> Iterator[Disk]:
    """A disk of so many mebibytes (a sparse file), gone afterwards. `nobody` may pass its root."""
    with TemporaryDirectory(prefix="rclaude-disk-") as folder:
        Path(folder).chmod(0o711)
        image, path = Path(folder) / "image", Path(folder) / "disk"
        path.mkdir(mode=0o711)
        with image.open("wb") as file:
            file.truncate(mebibytes * MIB)
        _run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        one = Disk(image, path)
        one.mount()
        try:
            path.chmod(0o711)
            yield one
        finally:
            one.unmount()


def end(victims: Sequence[psutil.Process]) -> None:
    """`kill -9` them, and wait until they are gone."""
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    psutil.wait_procs(victims)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(map(str, command))}: {done.stderr.strip()}. Power cuts and full disks need root, loop devices "
            "(in a container: --privileged) and ext4"
        )
