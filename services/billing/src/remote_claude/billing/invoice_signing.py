"""The key that signs exported invoices: made at the first start, its public half beside it for customers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from remote_claude.contracts.billing import InvoiceIssued
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runtime.archive.heads import write_once
from remote_claude.runtime.settings import BadSettings


class SigningKeyLost(BadSettings):
    """There are invoices, and the key that signs them is gone."""

    code = "billing_key_lost"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the seller's signing key {path} is missing although invoices were issued. Put it back from a backup "
            "(docs/guides/backup.md). If there is none, `rclaude-admin billing new-signing-key` makes another one: "
            "customers check later exports with its public half"
        )


class SigningKey:
    """An Ed25519 key in a file, with its public half beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.public_path = path.with_name(f"{path.name}.pub")

    def make(self) -> None:
        """Make the files that are missing. Raises `OSError`."""
        if not self.path.exists():
            made = Ed25519PrivateKey.generate()
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            private = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_once(self.path, private.decode(), 0o600)
        if not self.public_path.exists():
            write_once(self.public_path, self.public, 0o600)

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        key = load_pem_private_key(self.path.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise OSError(f"{self.path} holds no Ed25519 key")
        return key

    @property
    def public(self) -> str:
        """The public key as PEM."""
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode()

    def sign(self, data: bytes) -> str:
        """The signature in hexadecimal digits."""
        return self._key.sign(data).hex()


async def make_unless_lost(key: SigningKey, log: EventLog) -> None:
    """Make the key of a new installation. Raises `SigningKeyLost`, `OSError`."""
    if not key.path.exists():
        end = await log.last_position()
        async for batch in log.read(until=end, subjects="ev.billing.>"):
            if any(recorded.type == InvoiceIssued.type for recorded in batch):
                raise SigningKeyLost(key.path)
    key.make()
