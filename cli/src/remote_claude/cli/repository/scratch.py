"""A throw-away repository beside the user's, and the snapshot of a working tree into it."""

import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from remote_claude.cli.repository.git import Answer, Repository, failed, run


@dataclass(frozen=True, slots=True)
class Scratch:
    """A bare repository that sees the user's objects and keeps new ones to itself.

    Git in it reads no configuration but its own: what comes out of a sandbox is looked at here.
    """

    folder: Path
    repository: Repository

    @classmethod
    def create(cls, folder: Path, repository: Repository) -> "Scratch":
        scratch = cls(folder, repository)
        folder.mkdir(parents=True, exist_ok=True)
        run(
            *(
                "init",
                "--quiet",
                "--bare",
                "--template=",
                f"--object-format={repository.object_format}",
                folder,
            ),
            cwd=folder,
            env=scratch._environment(),
        )
        alternates = folder / "objects" / "info" / "alternates"
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_bytes(os.fsencode(_quoted(repository.objects)) + b"\n")
        return scratch

    def git(
        self,
        *args: str | Path,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        expect: Collection[int] = (0,),
    ) -> Answer:
        """Git in this repository, with no user's configuration."""
        return run(
            *args, cwd=self.folder, env={**self._environment(), **(env or {})}, stdin=stdin, expect=expect
        )

    def feed(self, *args: str, source: BinaryIO) -> bytes:
        """Git in this repository, reading the rest of an open file."""
        done = subprocess.run(
            ["git", *args],
            cwd=self.folder,
            env=self._environment(),
            stdin=source,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise failed(args, done.returncode, done.stderr)
        return done.stdout

    def landing(self, index: Path) -> dict[str, str]:
        """For Git in the user's repository: its own index, and new objects land here."""
        return {
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(self.folder / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(self.repository.objects),
        }

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LC_ALL": "C",
            "GIT_DIR": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }


def _quoted(path: Path) -> str:
    """As alternates want it: a colon or a newline in a path would end it."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@dataclass(frozen=True, slots=True)
class Snapshot:
    tree: str
    nested: tuple[str, ...]  # other repositories inside this one, left out


def snapshot(scratch: Scratch, index: Path, *, flagged: bool = False) -> Snapshot:
    """The working tree with uncommitted and untracked, not ignored files as a tree in `scratch`.

    `index` becomes an index of exactly this state. Files that Git overlooks by the user's flags
    (`assume-unchanged`, `skip-worktree`) count as the index has them, or as they are when `flagged`.
    """
    repository = scratch.repository
    copy_index(repository, index)
    env = scratch.landing(index)
    if flagged:
        _unflag(repository, env)
    repository.git("add", "--update", "--sparse", env=env)
    others = repository.git("ls-files", "-z", "--others", "--exclude-standard", env=env).paths
    files = [path for path in others if not path.endswith(b"/")]
    if files:
        repository.git("update-index", "--add", "--remove", "-z", "--stdin", stdin=nul(files), env=env)
    tree = repository.git("write-tree", "--missing-ok", env=env).text
    return Snapshot(tree, tuple(os.fsdecode(path) for path in others if path.endswith(b"/")))


def copy_index(repository: Repository, to: Path) -> None:
    """Keeps the time stamp: by it Git knows which entries may have changed unseen."""
    if repository.index.exists():
        shutil.copy2(repository.index, to)
    else:
        to.unlink(missing_ok=True)


def flags(repository: Repository, env: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """(flag, path) of what Git overlooks by the user's flags: `S` skip-worktree, lower case assume-unchanged."""
    for line in repository.git("ls-files", "-z", "-v", env=env).paths:
        if line[:1] == b"S" or line[:1].islower():
            yield line[:1], line[2:]


def _unflag(repository: Repository, env: Mapping[str, str]) -> None:
    skipped, assumed = [], []
    for flag, path in flags(repository, env):
        if flag.islower():
            assumed.append(path)
        if flag.upper() == b"S" and os.path.lexists(os.path.join(os.fsencode(repository.top), path)):
            skipped.append(path)
    for paths, option in ((assumed, "--no-assume-unchanged"), (skipped, "--no-skip-worktree")):
        if paths:
            repository.git("update-index", option, "-z", "--stdin", stdin=nul(paths), env=env)


def nul(paths: Collection[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in paths)


@contextmanager
def only_new(path: Path) -> Iterator[BinaryIO]:
    """A file that is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
