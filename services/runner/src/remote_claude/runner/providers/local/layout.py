"""Where the files of a sandbox come from, and where they are seen inside."""

from __future__ import annotations

from pathlib import Path

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Open to every user of the host."""

_STAGED = Path("/tmp")  # noqa: S108  (in a mount namespace of its own)


class Stage:
    """As root: a mount namespace, made before root is given up, where the sandbox's user can reach the sources.

    A Python below `/root`, or the home of somebody else, is closed to that user. `fstab` binds each source below
    an empty skeleton on disk, and at last the skeleton over `/tmp`. The host sees none of it, so that all
    sandboxes share one skeleton.
    """

    def __init__(self, skeleton: Path, lines: tuple[str, ...] = ()) -> None:
        self._skeleton = skeleton
        self._lines = [*lines]
        skeleton.mkdir(exist_ok=True)
        skeleton.chmod(0o755)

    def copy(self) -> Stage:
        return Stage(self._skeleton, tuple(self._lines))

    def reach(self, source: Path) -> Path:
        """Where the sandbox's user finds this source."""
        if any(source.is_relative_to(open_to_all) for open_to_all in (*SYSTEM, "/etc")):
            return source
        kind = "folder" if source.is_dir() else "file"
        place = self._skeleton / f"{kind}-{len(self._lines)}"
        if kind == "folder":
            place.mkdir(exist_ok=True)
        else:
            place.touch()
        self._lines.append(f"{_escaped(source)} {_escaped(place)} none rbind 0 0\n")
        return _STAGED / place.name

    def fstab(self) -> bytes:
        last = f"{_escaped(self._skeleton)} {_STAGED} none rbind 0 0\n"
        return "".join((*self._lines, last)).encode()


def _escaped(path: Path) -> str:
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in str(path))


class Layout:
    """bubblewrap's mounts in order, each with its parent folders made and open (its own are 0700 as root)."""

    def __init__(self, stage: Stage | None) -> None:
        self.args: list[str] = []
        self._stage = stage
        self._there = {Path("/")}
        self._bound: set[Path] = set()

    def bind(self, place: Path) -> None:
        """The host's, at the same place, read-only."""
        if not self._is_bound(place):
            self.folder(place.parent)
            source = self._stage.reach(place) if self._stage else place
            self.args += ["--ro-bind", str(source), str(place)]
            self._bound.add(place)

    def link(self, target: str, place: Path) -> None:
        self.args += ["--symlink", target, str(place)]
        self._there.add(place)

    def own(self, place: Path, size: int, mode: str = "0755") -> None:
        """A folder of the sandbox's own, in memory: it holds `size` bytes and no more."""
        self.folder(place.parent)
        self.args += ["--size", str(size), "--perms", mode, "--tmpfs", str(place)]
        self._there.add(place)

    def folder(self, place: Path) -> None:
        for folder in (*reversed(place.parents), place):
            if folder not in self._there and not self._is_bound(folder):
                self.args += ["--dir", str(folder)]
                self._there.add(folder)

    def _is_bound(self, place: Path) -> bool:
        return any(folder in self._bound for folder in (place, *place.parents))
