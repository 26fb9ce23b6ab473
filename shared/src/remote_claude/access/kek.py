"""The key-encryption keys, which wrap every data key of an installation: the newest wraps, all of them open.

Each is 32 bytes. They are the lines of a file, or of the environment, the newest first, as base64url; or, where a
key-management service keeps the key to them, as what that service has encrypted. It is asked once at the start of a
process and once after a rotation, never for a data key.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

KEK_BYTES = 32
PURPOSE = {"purpose": "remote-claude key-encryption key"}
"""The encryption context of AWS KMS: what was encrypted for this opens for nothing else, and its log shows it."""


class KeyUnusable(Exception):
    """The key-encryption key does not fit the data key, or a sealed text was tampered with."""

    code = "key_unusable"


class KeyService(Protocol):
    """Keeps a key that never leaves it. Raises `KeyUnusable`."""

    def encrypt(self, secret: bytes) -> bytes:
        """What only `decrypt` opens."""
        ...

    def decrypt(self, box: bytes) -> bytes:
        """What was encrypted."""
        ...


class AwsKms:
    """AWS KMS. Region and credentials are those of the environment (`AWS_REGION`, a role, ...)."""

    def __init__(self, key: str) -> None:
        """`key` is the id, ARN or alias of a symmetric key."""
        try:
            import boto3
        except ImportError as error:
            raise KeyUnusable("AWS KMS needs boto3: install remote-claude-shared[aws]") from error
        self._key, self._kms = key, boto3.client("kms")

    def encrypt(self, secret: bytes) -> bytes:
        """See `KeyService`."""
        return self._asked("encrypt", Plaintext=secret, answer="CiphertextBlob")

    def decrypt(self, box: bytes) -> bytes:
        """See `KeyService`."""
        return self._asked("decrypt", CiphertextBlob=box, answer="Plaintext")

    def _asked(self, operation: str, *, answer: str, **arguments: bytes) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            found = getattr(self._kms, operation)(KeyId=self._key, EncryptionContext=PURPOSE, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise KeyUnusable(f"AWS KMS does not {operation} with the key {self._key}: {error}") from error
        return bytes(found[answer])


def key_service(name: str) -> KeyService | None:
    """The service of a setting: `aws:<key>`; empty: none. Raises `KeyUnusable`."""
    vendor, _, key = name.partition(":")
    if vendor == "aws" and key:
        return AwsKms(key)
    if name:
        raise KeyUnusable(
            f"{name!r} names no key-management service: write aws:<id, ARN or alias of the key>"
        )
    return None


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the key-encryption keys are: in `text`, otherwise in `file`. `service` as in `key_service`."""

    file: Path | None
    text: str = ""
    service: str = ""

    def load(self) -> Sequence[bytes]:
        """The keys, the newest first. Raises `KeyUnusable`."""
        try:
            text = self.text or (self.file.read_text() if self.file is not None else "")
            boxes = [urlsafe_b64decode(line) for line in text.split()]
        except (OSError, ValueError) as error:
            raise KeyUnusable(f"the key-encryption key can't be read from {self._place}: {error}") from error
        service = key_service(self.service)
        keks = boxes if service is None else [service.decrypt(box) for box in boxes]
        if not keks:
            raise KeyUnusable(f"{self._place} holds no key-encryption key")
        for kek in keks:
            if len(kek) != KEK_BYTES:
                raise KeyUnusable(f"{self._place} holds {len(kek)} bytes, not the 32 of a key-encryption key")
        return keks

    def add(self) -> None:
        """Put a new key before those that are in the file, which may be missing. Raises `KeyUnusable`."""
        if self.file is None or self.text:
            raise KeyUnusable(
                f"{self._place} can't be written: put a new key before the others there, and restart"
            )
        service, secret = key_service(self.service), os.urandom(KEK_BYTES)
        box = secret if service is None else service.encrypt(secret)
        older = self.file.read_text() if self.file.exists() else ""
        _write(self.file, urlsafe_b64encode(box).decode() + "\n" + older)

    def keep_newest(self) -> int:
        """Take every key but the first out of the file; how many there were. Raises `KeyUnusable`."""
        if self.file is None or self.text:
            raise KeyUnusable(f"{self._place} can't be written: keep its first line only, and restart")
        newest, *older = self.file.read_text().split()
        if older:
            _write(self.file, newest + "\n")
        return len(older)

    @property
    def _place(self) -> str:
        return "RCLAUDE_KEK" if self.text or self.file is None else str(self.file)


def create_kek(path: Path) -> None:
    """Make a key-encryption key, readable by its owner only, and see it to the disk. Keeps one that is there."""
    if not path.exists():
        KeySource(path).add()


def _write(path: Path, text: str) -> None:
    """Replace a file, whole or not at all."""
    staged = path.with_name(f"{path.name}.new")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staged.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
