"""Checkpoints: what the next attempt needs to continue from a turn, as one tar archive.

| member | what it is |
|---|---|
| `state.json` | `turn`, `messages` (handled so far), `agent`: what the agent continues from |
| `tree.bundle` | the working tree as a Git bundle on top of what was sent, untracked files included; without a change, absent |
| `workspace/` | where there is no repository: the files of the workspace |
| `home/` | the home of the agent, its conversation in it, without caches |
"""

from __future__ import annotations

import asyncio
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from remote_claude.worker import repository
from remote_claude.worker.repository import Prepared

MAX_BYTES = 256 * 1024 * 1024
"""Of all files in a checkpoint; those that are over it are left out, and named."""
MAX_FILE = 64 * 1024 * 1024
CACHES = frozenset({".cache", ".npm", ".cargo", ".rustup", ".gradle", ".m2", "go", ".bun", ".pnpm-store"})
"""Folders of the home that programs fill again by themselves."""

SCRATCH = ".rclaude-"
"""The worker's own folder in the home begins with this."""

_STATE, _TREE = "state.json", "tree.bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a checkpoint was taken."""

    turn: int
    messages: int
    agent: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What is saved."""

    workspace: Path
    home: Path
    prepared: Prepared | None


async def save(state: State, places: Places, out: Path) -> list[str]:
    """Write the archive; returns the files that are not in it for their size. Errors: `RepositoryFailed`, `OSError`."""
    with tempfile.TemporaryDirectory(prefix=".checkpoint-", dir=out.parent) as folder:
        tree = (
            await repository.snapshot(places.workspace, places.prepared, Path(folder) / _TREE)
            if places.prepared is not None
            else None
        )
        return await asyncio.to_thread(_pack, state, places, tree, out)


async def restore(archive: Path, places: Places) -> State:
    """Put everything back. Errors: `RepositoryFailed`, `OSError`, `tarfile.TarError`."""
    with tempfile.TemporaryDirectory(prefix=".checkpoint-", dir=archive.parent) as name:
        folder = Path(name)
        state = await asyncio.to_thread(_unpack, archive, places, folder)
        if places.prepared is not None and (folder / _TREE).exists():
            await repository.restore(places.workspace, folder / _TREE)
    return state


def _pack(state: State, places: Places, tree: Path | None, out: Path) -> list[str]:
    skipped, left = [], MAX_BYTES
    part = out.with_name(out.name + ".part")
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        described = out.parent / f".{_STATE}"
        described.write_text(json.dumps(asdict(state)))
        tar.add(described, _STATE)
        if tree is not None:
            tar.add(tree, _TREE)
        roots = [(places.home, "home", CACHES)]
        if places.prepared is None:
            roots.append((places.workspace, "workspace", frozenset()))
        for root, name, without in roots:
            for path in _files(root, without):
                try:
                    size = path.lstat().st_size
                    if size > min(MAX_FILE, left):
                        skipped.append(str(path.relative_to(root)))
                        continue
                    tar.add(path, f"{name}/{path.relative_to(root)}", recursive=False)
                    left -= size
                except (FileNotFoundError, PermissionError):  # the agent goes on meanwhile
                    continue
    part.replace(out)
    return skipped


def _files(root: Path, without: frozenset[str]) -> Iterator[Path]:
    """Files, symbolic links and empty folders, below real folders only."""
    for at, folders, names in os.walk(root):
        if Path(at) == root:
            folders[:] = [name for name in folders if name not in without and not name.startswith(SCRATCH)]
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        for name in (*names, *links):
            path = Path(at) / name
            if path.is_symlink() or path.is_file():
                yield path
        if not folders and not names and Path(at) != root:
            yield Path(at)


def _unpack(archive: Path, places: Places, folder: Path) -> State:
    places_of = {"home": places.home, "workspace": places.workspace}
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "tar_filter"):  # from Python 3.11.4 on
            tar.extraction_filter = tarfile.tar_filter
        for member in tar:
            if member.name.startswith("/") or ".." in Path(member.name).parts:
                raise ValueError(f"{member.name!r} is outside the checkpoint")
            root, _, inner = member.name.partition("/")
            if inner and root in places_of:
                member.name = inner
                tar.extract(member, places_of[root])
            elif member.name in (_STATE, _TREE):
                tar.extract(member, folder)
    return State(**json.loads((folder / _STATE).read_text()))
