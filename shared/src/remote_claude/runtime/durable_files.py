"""Files that a power cut leaves whole: what is acknowledged is on the disk, and under its name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO


def sync_folder(folder: Path) -> None:
    """See to it that what was made, renamed or removed in a folder stays so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Write a 0600 file whole and synced, or not at all."""
    staged = path.with_name(f"{path.name}.{os.getpid()}.new")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
    sync_folder(path.parent)


def place(path: Path, content: bytes | Path | Iterable[bytes], *, below: Path) -> None:
    """A file at `path`, whole and synced or not at all; the folders on the way from `below` are made. Raises `OSError`."""
    made = [folder for folder in path.parents if folder.is_relative_to(below)]
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
    try:
        with staged.open("xb") as file:
            _write(file, content)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    for folder in made:
        sync_folder(folder)


def _write(file: IO[bytes], content: bytes | Path | Iterable[bytes]) -> None:
    if isinstance(content, bytes):
        file.write(content)
    elif not isinstance(content, Path):
        file.writelines(content)
    else:
        with content.open("rb") as source:
            shutil.copyfileobj(source, file, 1024 * 1024)
