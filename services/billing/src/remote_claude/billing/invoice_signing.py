"""The key that signs exported invoices: made at its first use, its public half beside it for customers."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from remote_claude.runtime.archive.heads import write_once


class SigningKey:
    """An Ed25519 key in a file. Raises `OSError` where it can be neither read nor made."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            private = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_once(path, private.decode(), 0o600)
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise OSError(f"{path} holds no Ed25519 key")
        self._key = key
        public = path.with_name(path.name + ".pub")
        if not public.exists():
            write_once(public, self.public, 0o600)

    @property
    def public(self) -> str:
        """The public key as PEM."""
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode()

    def sign(self, data: bytes) -> str:
        """The signature in hexadecimal digits."""
        return self._key.sign(data).hex()
