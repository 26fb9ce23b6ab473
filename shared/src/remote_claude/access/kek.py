"""The key-encryption key: 32 bytes in a file, which wrap every data key of a stack."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path


class KeyUnusable(Exception):
    """The key-encryption key does not fit the data key, or a sealed text was tampered with."""

    code = "key_unusable"


def load_kek(path: Path) -> bytes:
    """Read the key-encryption key: 32 bytes as base64url. Raises `KeyUnusable`."""
    try:
        kek = urlsafe_b64decode(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise KeyUnusable(f"the key-encryption key can't be read from {path}: {error}") from error
    if len(kek) != 32:
        raise KeyUnusable(f"{path} holds {len(kek)} bytes, not the 32 of a key-encryption key")
    return kek


def create_kek(path: Path) -> None:
    """Make a key-encryption key, readable by its owner only, and see it to the disk. Keeps one that is there."""
    if path.exists():
        return
    staged = path.with_name(f"{path.name}.new")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(urlsafe_b64encode(os.urandom(32)).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    staged.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
