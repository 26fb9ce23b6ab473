"""The last steps of `apply`: what is written into the user's repository, and what forbids it."""

import errno
import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path

from remote_claude.cli.repository.git import RepositoryError
from remote_claude.cli.repository.result import LINK, Change
from remote_claude.cli.repository.scratch import Scratch, copy_index, flags, nul

_IN_THE_WAY = "is here, ignored or unknown to Git, and the agent wrote a file of this name"
_THROUGH_LINK = "lies behind a symbolic link"
_READ_ONLY = "can't be written: the folder is read-only"


class Landing:
    def __init__(self, scratch: Scratch) -> None:
        self.repository = scratch.repository
        self.scratch = scratch
        self.folder = scratch.folder.parent
        self.snapshot_index = self.folder / "snapshot-index"
        self.stage = self.folder / "stage"
        self.top = os.fsencode(self.repository.top)
        self.sparse: set[bytes] = set()  # in the index, and by the user's wish not in the working tree

    def index_tree(self) -> str:
        """What is staged, as a tree."""
        index = self.folder / "index"
        copy_index(self.repository, index)
        return self.repository.git("write-tree", "--missing-ok", env=self.scratch.landing(index)).text

    def in_the_way(self, writes: Collection[Change]) -> dict[str, str]:
        """Prepares the files to write, and says which can't be: path to reason."""
        index = self.scratch.landing(self.snapshot_index)
        self.sparse = {path for flag, path in flags(self.repository, index) if flag.upper() == b"S"}
        self._prepare([change for change in writes if not change.deleted])
        changed = set(self.repository.git("diff-files", "-z", "--name-only", env=index).paths) - self.sparse
        gone = {change.path for change in writes if change.deleted}
        reasons = {}
        for change in writes:
            reason = self._hindrance(change, gone)
            if change.path in changed:
                reason = "changed this very moment"
            if reason:
                reasons[change.name] = reason
        return reasons

    def bring_objects(
        self, trees: Collection[str], writes: Collection[Change], *, without: str | None
    ) -> None:
        """Everything the trees and the files consist of goes into the user's object store."""
        wanted = [*trees, *(change.new.decode() for change in writes if not change.deleted)]
        wanted += [f"^{without}"] if without else []
        pack = self.scratch.git(
            "pack-objects", "--revs", "--stdout", "-q", stdin="".join(f"{oid}\n" for oid in wanted).encode()
        )
        self.repository.git("unpack-objects", "-q", stdin=pack.out)

    def write_files(self, writes: Collection[Change]) -> None:
        """Whole files, each by one rename; deletions last, but where a file makes way for a folder."""
        writes = [change for change in writes if change.path not in self.sparse]
        placed = {change.path for change in writes if not change.deleted}
        folders = {parent for path in placed for parent in _parents(path)}
        first: list[Change] = []
        last: list[Change] = []
        for change in writes:
            if change.deleted:
                makes_way = change.path in folders or not placed.isdisjoint(_parents(change.path))
                (first if makes_way else last).append(change)
        path = b""
        try:
            for change in first:
                path = change.path
                self._delete(change)
            for path in sorted(placed):
                self._place(path)
            for change in last:
                path = change.path
                self._delete(change)
        except OSError as error:
            raise RepositoryError(
                "apply_interrupted",
                f"{os.fsdecode(path)} couldn't be written: {error.strerror}. Nothing of yours is lost, but some "
                "of the agent's changes are in the working tree already: correct this and apply again.",
                [os.fsdecode(path)],
            ) from error

    def write_index(self, staged: Collection[Change], unmerged: Collection[bytes] = ()) -> None:
        """The user's index with the staged changes, other entries and their flags as they were.

        `unmerged` are entries of files in conflict, as `git update-index --index-info` reads them.
        """
        if not staged and not unmerged:
            return
        index = self.folder / "index"
        copy_index(self.repository, index)
        env = {"GIT_INDEX_FILE": str(index)}
        ordered = sorted(staged, key=lambda change: not change.deleted)
        skipped = [c.path for c in staged if c.path in self.sparse and not c.deleted]
        self.repository.git(
            "update-index",
            "-z",
            "--index-info",
            stdin=b"".join((*(change.entry for change in ordered), *unmerged)),
            env=env,
        )
        if skipped:
            self.repository.git(
                "update-index", "--skip-worktree", "-z", "--stdin", stdin=nul(skipped), env=env
            )
        self.repository.git("update-index", "-q", "--ignore-submodules", "--refresh", env=env, expect=(0, 1))
        index.replace(self.repository.index)

    def _prepare(self, writes: Collection[Change]) -> None:
        """Puts the files, as they will be, into `stage`.

        Line ends and filters go by the attributes that are in the working tree now: the agent's own
        `.gitattributes` are not in this index, and are written as they are.
        """
        attributes = [change for change in writes if change.path.rpartition(b"/")[2] == b".gitattributes"]
        others = [change for change in writes if change not in attributes]
        self.stage.mkdir()
        if others:
            env = self.scratch.landing(self.folder / "stage-index")
            self.repository.git(
                "update-index",
                "-z",
                "--index-info",
                stdin=b"".join(change.entry for change in others),
                env=env,
            )
            self.repository.git("checkout-index", "--all", f"--prefix={self.stage}/", env=env)
        for change in attributes:
            target = self._staged(change.path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            content = self.scratch.git("cat-file", "blob", change.new.decode()).out
            Path(os.fsdecode(target)).write_bytes(content)

    def _hindrance(self, change: Change, gone: Collection[bytes]) -> str | None:
        target = os.path.join(self.top, change.path)
        for parent in _parents(change.path):
            kind = _kind(os.path.join(self.top, parent))
            if kind is None or parent in gone:
                break
            if kind != stat.S_IFDIR:
                return _THROUGH_LINK if kind == stat.S_IFLNK else _IN_THE_WAY
        if LINK in (change.old_mode, change.new_mode) or change.path in self.sparse:
            return None
        if change.added and not self._same(change.path):
            found = _kind(target)
            if found == stat.S_IFDIR and not _all_gone(self.top, change.path, gone):
                return "is a folder here, with files in it that Git doesn't know"
            if found not in (None, stat.S_IFDIR):
                return _IN_THE_WAY
        existing = next(p for p in (*reversed(_parents(target)), self.top) if os.path.isdir(p))
        return None if os.access(existing, os.W_OK | os.X_OK) else _READ_ONLY

    def _same(self, path: bytes) -> bool:
        """Whether the very file is here already, from an interrupted apply."""
        here, new = os.path.join(self.top, path), self._staged(path)
        kind = _kind(here)
        if kind != _kind(new):
            return False
        if kind == stat.S_IFLNK:
            return os.readlink(here) == os.readlink(new)
        return (
            kind == stat.S_IFREG
            and Path(os.fsdecode(here)).read_bytes() == Path(os.fsdecode(new)).read_bytes()
        )

    def _staged(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.stage), path)

    def _place(self, path: bytes) -> None:
        target, new = os.path.join(self.top, path), self._staged(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if _kind(target) == stat.S_IFDIR:
            _remove_empty(target)
        try:
            os.replace(new, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = os.path.join(os.path.dirname(target), b".rclaude-%d" % os.getpid())
            shutil.copy2(new, beside, follow_symlinks=False)
            os.replace(beside, target)

    def _delete(self, change: Change) -> None:
        target = os.path.join(self.top, change.path)
        folders = [os.path.join(self.top, parent) for parent in _parents(change.path)]
        if change.old_mode == LINK:
            folders.append(target)  # a submodule that is checked out stays
        elif os.path.lexists(target):
            os.unlink(target)
        for folder in reversed(folders):
            try:
                os.rmdir(folder)
            except OSError:  # not empty: it stays, as in Git
                break


def _parents(path: bytes) -> list[bytes]:
    """`a/b/c`: `a`, `a/b`."""
    parts = path.split(b"/")[:-1]
    return [b"/".join(parts[: n + 1]) for n in range(len(parts)) if parts[n] or n]


def _kind(path: bytes) -> int | None:
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _all_gone(top: bytes, path: bytes, gone: Collection[bytes]) -> bool:
    """Whether nothing is left in a folder once `gone` is deleted."""
    for folder, folders, files in os.walk(os.path.join(top, path)):
        inside = os.path.relpath(folder, top)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        if any(os.path.join(inside, name) not in gone for name in (*files, *links)):
            return False
    return True


def _remove_empty(folder: bytes) -> None:
    """A folder of folders goes, one with a file in it stays (and what comes next says so)."""
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            return
