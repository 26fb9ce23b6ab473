"""What the commit names and the workspace doesn't have: files of submodules, contents that Git LFS keeps elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from remote_claude.worker.git import git
from remote_claude.worker.result_tree import NAMED

_LINK = b"160000"
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
"""The first line of a pointer: git-lfs, docs/spec.md."""


async def missing_files(workspace: Path, env: dict[str, str]) -> str:
    """One line for the user: what is missing in a fresh checkout and how to have it. Empty when all is there."""
    staged = _split(await git("ls-files", "-z", "--stage", cwd=workspace, env=env))
    links = [line.partition(b"\t")[2] for line in staged if line.startswith(_LINK)]
    submodules = [path for path in links if not _has_files(_at(workspace, path))]
    filtered = _split(await git("ls-files", "-z", "--", ":(attr:filter=lfs)", cwd=workspace, env=env))
    pointers = [path for path in filtered if _is_pointer(_at(workspace, path))]
    what, how = [], []
    if submodules:
        what.append(f"the files of submodules ({_names(submodules)})")
        how.append("`git submodule update --init --recursive`")
    if pointers:
        what.append(f"the contents of LFS files ({_names(pointers)})")
        how.append("`git lfs pull`")
    if not what:
        return ""
    return f"not in the workspace: {' and '.join(what)}; to have them, start the task in a clone after {' and '.join(how)}"


def _at(workspace: Path, path: bytes) -> bytes:
    return os.path.join(os.fsencode(workspace), path)


def _has_files(folder: bytes) -> bool:
    try:
        return bool(os.listdir(folder))
    except OSError:
        return False


def _is_pointer(path: bytes) -> bool:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def _names(paths: Sequence[bytes]) -> str:
    shown = [path.decode("utf-8", "replace") for path in paths[:NAMED]]
    return ", ".join(shown + ([f"{len(paths) - NAMED} more"] if len(paths) > NAMED else []))


def _split(out: bytes) -> list[bytes]:
    return out.split(b"\0")[:-1]
