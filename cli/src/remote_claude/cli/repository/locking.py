"""Keeps others out of a repository while it changes, and keeps out where others are at work."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from remote_claude.cli.repository.git import Repository, RepositoryError

_IN_PROGRESS = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase or `git am`",
}
_LOCK = b"rclaude apply %d\n"


def refuse_when_busy(repository: Repository) -> None:
    """Raise `repository_busy` in the middle of a merge, a rebase or the like, and with unmerged files."""
    for name, what in _IN_PROGRESS.items():
        if (repository.git_dir / name).exists():
            raise RepositoryError("repository_busy", f"{what} is in progress here: finish or abort it first")
    unmerged = repository.git("ls-files", "-z", "--unmerged").paths
    if unmerged:
        names = {os.fsdecode(line.partition(b"\t")[2]) for line in unmerged}
        raise RepositoryError(
            "repository_busy",
            f"unmerged files: {', '.join(sorted(names))}. Resolve them first.",
            sorted(names),
        )


@contextmanager
def locked(repository: Repository) -> Iterator[Path]:
    """Holds the index as Git does, and gives a folder of our own in the Git folder.

    A lock that an interrupted `apply` left behind is known by its content and taken over.
    """
    lock = repository.index.with_name("index.lock")
    folder = repository.git_dir / "rclaude"
    if _abandoned(lock):
        lock.unlink(missing_ok=True)
    try:
        with lock.open("xb") as file:
            file.write(_LOCK % os.getpid())
    except PermissionError as error:
        raise RepositoryError("repository_unwritable", f"{repository.git_dir} can't be written") from error
    except FileExistsError as error:
        raise RepositoryError(
            "repository_busy",
            f"another Git process is at work here; if there is none, remove {lock} and apply again",
        ) from error
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)


def _abandoned(lock: Path) -> bool:
    try:
        found = re.fullmatch(_LOCK.replace(b"%d", rb"(\d+)"), lock.read_bytes())
    except FileNotFoundError:
        return False
    if not found:
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
